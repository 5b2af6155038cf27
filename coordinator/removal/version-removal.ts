// Takes an edge's part out of a version: from the first round that it had a part in, every round is
// merged again from the kept deltas of the others, each on the start that the one before now gives.
//
// The others' deltas stay as they were trained, on starts that the edge had a part in: what they
// learned from that isn't unlearned. The result is a candidate, to be proven like any other.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Fault } from "../../proto/fault.ts";
import { RebuildReplySchema, RebuildRequestSchema } from "../../proto/gen/isthmus/v1/removal_pb.ts";
import { RegionRoundStatusSchema } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { regionId, type Sha256 } from "../../proto/ids.ts";
import { subjects } from "../../proto/subjects.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { NatsLink } from "../../runtime/nats/connection.ts";
import { pullArtifact } from "../../sync/artifact/artifact-pull.ts";
import {
  type ArtifactRef,
  artifactOf,
  type TrainingState,
  type VersionRecord,
} from "../catalogue/model-record.ts";
import { isNoisedCentrally } from "../privacy/noised-mean.ts";
import { type AdapterMergeOptions, mergeFiles } from "../rounds/adapter-merge.ts";
import type { CampaignState, RegionRound, RoundState } from "../rounds/campaign-state.ts";
import { reportOf } from "../rounds/round-messages.ts";
import { ancestryOf, type RoundStep } from "./ancestry.ts";

const REBUILD_TIMEOUT_MS = 120_000;
const PULL_TIMEOUT_MS = 120_000;
const EDGES_MAX = 1_000;

export interface VersionRemovalOptions extends AdapterMergeOptions {
  /** What is remembered of campaigns and their rounds. */
  readonly campaigns: {
    get(id: string): CampaignState;
    round(id: string, number: number): RoundState;
  };
  readonly nats: Pick<NatsLink, "request">;
  readonly clock: Clock;
}

/** What a round starts from once the rounds before it are rebuilt. */
interface Start {
  readonly training: TrainingState | null;
  /** As it is served; null before any round. */
  readonly adapter: ArtifactRef | null;
  /** Whether it is another one than the round had. */
  readonly isChanged: boolean;
}

/**
 * Publishes the version without these edges, `<region>/<edge>`; asked again, returns the same one.
 * Faults: `failed-precondition` when none of them is in it, nothing would be left, noise was added
 * to the sum, or a region no longer has what is needed; `unavailable` when one doesn't answer.
 */
export async function rebuildWithout(
  version: string,
  edges: readonly string[],
  options: VersionRemovalOptions,
): Promise<VersionRecord> {
  const record = options.catalogue.version(version);
  const { rounds, without: before } = ancestryOf(options.catalogue, version);
  if (rounds.at(-1)?.record.base.sha256 !== record.base.sha256) {
    const why = "has no rounds, or they are part of its weights: rebuild what it was made of";
    throw new Fault("failed-precondition", `${version} ${why}`);
  }
  const without = new Set([...edges, ...before]);
  if (without.size > EDGES_MAX) throw new Fault("invalid-argument", `at most ${EDGES_MAX} edges`);
  const isIn = (edge: string) => rounds.some(({ origin }) => origin.contributors.includes(edge));
  const absent = edges.filter((edge) => !isIn(edge));
  if (absent.length > 0 || edges.length === 0) {
    throw new Fault(
      "failed-precondition",
      `${absent.join(", ") || "nobody"} has no part in ${version}`,
    );
  }
  const first = rounds.findIndex(({ origin }) =>
    origin.contributors.some((one) => without.has(one)),
  );
  const { parent } = rounds[first]!.record;
  const parentRecord = parent === null ? undefined : options.catalogue.version(parent);
  let start: Start = {
    training: parentRecord?.training ?? null,
    adapter: parentRecord?.adapters[0]?.artifact ?? null,
    isChanged: false,
  };
  for (const step of rounds.slice(first)) start = await rebuildRound(step, start, without, options);
  if (start.training === null || start.adapter === null) {
    throw new Fault("failed-precondition", `nothing is left of ${version} without them`);
  }
  const published = options.catalogue.publish({
    model: record.model,
    base: record.base,
    adapters: [{ artifact: start.adapter, scale: 1 }],
    ...(record.parent === null ? {} : { parent: record.parent }),
    training: start.training,
    origin: { kind: "rebuilt", from: version, without: [...without].sort() },
  });
  return published.version;
}

async function rebuildRound(
  { record, origin }: RoundStep,
  start: Start,
  without: ReadonlySet<string>,
  options: VersionRemovalOptions,
): Promise<Start> {
  const campaign = options.campaigns.get(origin.campaign);
  const round = options.campaigns.round(origin.campaign, origin.round);
  if (isNoisedCentrally(campaign)) {
    const message = `${record.version}: the noise on its sum would have to be paid for again`;
    throw new Fault("failed-precondition", message);
  }
  const regions: RegionRound[] = [];
  for (const region of round.regions.filter(({ phase }) => phase === "pulled")) {
    const again = await rebuildRegion(region, { origin, start, without }, options);
    if (again !== null) regions.push(again);
  }
  // Only those who are taken out had a part in it.
  if (regions.length === 0) return { ...start, isChanged: true };
  const good = { version: record.parent ?? record.version, training: start.training };
  const name = `${origin.campaign}-${origin.round}-rebuilt`;
  const merged = await mergeFiles({ ...campaign, good }, { ...round, regions }, name, options);
  return { training: merged.training, adapter: merged.adapter, isChanged: true };
}

/** Null when nothing is left of the region's part. */
async function rebuildRegion(
  region: RegionRound,
  task: {
    readonly origin: RoundStep["origin"];
    readonly start: Start;
    readonly without: ReadonlySet<string>;
  },
  options: VersionRemovalOptions,
): Promise<RegionRound | null> {
  const { origin, start } = task;
  const { campaign, round } = origin;
  const contributors = region.partial?.contributors ?? [];
  const without = contributors.filter((edge) => task.without.has(`${region.region}/${edge}`));
  if (without.length === contributors.length) return null;
  if (without.length === 0 && !start.isChanged && isHere(region, options)) return region;
  const adapterState =
    start.isChanged && start.training ? artifactOf(start.training.state) : undefined;
  const request = create(RebuildRequestSchema, {
    ...{ campaign, round, without },
    ...(adapterState && { adapterState }),
  });
  const subject = subjects.roundRebuild(regionId(region.region));
  const body = toBinary(RebuildRequestSchema, request);
  const answer = await options.nats.request(subject, body, REBUILD_TIMEOUT_MS);
  const { partial, http, reason } = fromBinary(RebuildReplySchema, answer);
  if (reason !== "") throw new Fault("failed-precondition", `${region.region}: ${reason}`);
  if (partial === undefined) return null;
  const status = { campaign, round, region: region.region, done: true, partial, http };
  const report = reportOf(create(RegionRoundStatusSchema, status));
  if (report.partial === null) throw new Fault("failed-precondition", report.reason);
  await pull(report.partial.artifact, report.partial.http, options);
  return { ...region, partial: report.partial };
}

function isHere({ partial }: RegionRound, { artifacts }: VersionRemovalOptions): boolean {
  return partial !== null && artifacts.has(partial.artifact.sha256 as Sha256);
}

async function pull(
  { sha256, bytes }: ArtifactRef,
  http: string,
  { artifacts, clock }: VersionRemovalOptions,
): Promise<void> {
  const late = new AbortController();
  const timer = clock.after(PULL_TIMEOUT_MS, () => late.abort());
  const { signal } = late;
  const target = { sha256: sha256 as Sha256, bytes };
  await pullArtifact(target, [http], artifacts, { clock, signal }).finally(() => timer.cancel());
}
