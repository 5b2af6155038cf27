// Tells an edge to train until it has answered, and goes on telling while it trains: an edge that
// was restarted without its job hears of it again, one that gave up says so.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  TrainCommandSchema,
  type TrainReply,
  TrainReplySchema,
} from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { edgeId, type RegionId } from "../../proto/ids.ts";
import { subjects } from "../../proto/subjects.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { NatsLink } from "../../runtime/nats/connection.ts";
import { pause } from "../../sync/artifact/pause.ts";
import type { RoundRunner } from "./round-runner.ts";
import { isConcluded } from "./round-state.ts";

const ANSWER_MAX_MS = 2_000;
const RETRY_MS = 500;
const RETELL_MS = 5_000;

export interface DispatchOptions {
  readonly region: RegionId;
  readonly nats: Pick<NatsLink, "request">;
  readonly clock: Clock;
  /** http://host:port to upload to; empty until the region listens. */
  readonly http: () => string;
  /** Where else the region takes deltas. */
  readonly elsewhere?: () => readonly string[];
}

/** Resolves when the edge's seat is concluded or the round runs no more. */
export async function tellToTrain(
  runner: RoundRunner,
  edge: string,
  options: DispatchOptions,
): Promise<void> {
  while (isWanted(runner, edge)) {
    const reply = await askToTrain(runner, edge, options);
    if (runner.signal.aborted) return;
    if (reply) await runner.step({ kind: "reply", edge, reply });
    // Rejects only when the round is closed here, and then the loop is over.
    await pause(options.clock, reply ? RETELL_MS : RETRY_MS, runner.signal).catch(() => {});
  }
}

function isWanted({ state, signal }: RoundRunner, edge: string): boolean {
  const seat = state.seats.get(edge);
  return !signal.aborted && state.phase === "open" && seat !== undefined && !isConcluded(seat);
}

/** Null when no answer came: a lost one is asked for again. */
async function askToTrain(
  { state }: RoundRunner,
  edge: string,
  { region, nats, http, elsewhere }: DispatchOptions,
): Promise<TrainReply | null> {
  const uploadTo = http();
  if (uploadTo === "") return null;
  const uploadElsewhere = [...(elsewhere?.() ?? [])].filter((other) => other !== uploadTo);
  const command = create(TrainCommandSchema, { offer: state.offer, uploadTo, uploadElsewhere });
  const body = toBinary(TrainCommandSchema, command);
  try {
    const subject = subjects.train(region, edgeId(edge));
    return fromBinary(TrainReplySchema, await nats.request(subject, body, ANSWER_MAX_MS));
  } catch {
    return null;
  }
}
