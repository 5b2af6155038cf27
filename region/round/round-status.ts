// A regional round as the coordinator sees it.
import { create } from "@bufbuild/protobuf";
import {
  type EdgeOutcome,
  EdgeOutcomeSchema,
  type RegionRoundStatus,
  RegionRoundStatusSchema,
} from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import type { RoundState, Seat } from "./round-state.ts";

export interface RegionAddress {
  readonly region: string;
  /** http://host:port that serves the partial. */
  readonly http: string;
}

export function statusOfRound(state: RoundState, { region, http }: RegionAddress) {
  const edges = [...state.seats.values()].sort((a, b) => (a.edge < b.edge ? -1 : 1));
  const status = create(RegionRoundStatusSchema, {
    campaign: state.offer.campaign,
    round: state.offer.round,
    region,
    edges: edges.map(outcomeOfSeat),
    done: state.phase === "done",
    reason: state.reason,
    http,
  });
  if (state.partial) status.partial = state.partial;
  return status;
}

/** The last word on an offer that can't become a round here. */
export function statusOfRefusedOffer(
  offer: { readonly campaign: string; readonly round: number },
  reason: string,
  { region, http }: RegionAddress,
): RegionRoundStatus {
  const { campaign, round } = offer;
  return create(RegionRoundStatusSchema, { campaign, round, region, http, done: true, reason });
}

function reasonOf({ reason, lateByMs }: Seat): string {
  if (lateByMs === null) return reason;
  return `${reason}; it came ${(lateByMs / 1000).toFixed(1)} s after the round had closed`;
}

function outcomeOfSeat(seat: Seat): EdgeOutcome {
  const { edge, bucket, step, steps, loss, receivedBytes, totalBytes, manifest } = seat;
  return create(EdgeOutcomeSchema, {
    edge,
    bucket,
    reason: reasonOf(seat),
    step,
    steps,
    loss,
    receivedBytes: BigInt(receivedBytes),
    totalBytes: BigInt(totalBytes),
    ...(manifest && {
      examples: manifest.examples,
      deltaBytes: manifest.delta?.bytes ?? 0n,
      norm: manifest.norm,
      lossBefore: manifest.lossBefore,
      lossAfter: manifest.lossAfter,
      deltaSha256: manifest.delta?.sha256 ?? "",
    }),
  });
}
