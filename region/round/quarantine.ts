// The deltas that a region kept out of a round, each with the reason and what its manifest said.
import { Bucket } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { codecName } from "../../sync/delta/codec/delta-format.ts";
import type { Refusal, RoundState, Seat } from "./round-state.ts";

export interface QuarantinedDelta {
  readonly campaign: string;
  readonly round: number;
  readonly edge: string;
  readonly reason: string;
  readonly detail: string;
  /** Whether the bytes lie in this region still. */
  readonly kept: boolean;
  /** As the manifest states it; empty or 0 when there was none. */
  readonly sha256: string;
  readonly bytes: number;
  readonly codec: string;
  readonly examples: number;
  readonly norm: number;
}

/** Of one round, by edge; of one edge the newest last. */
export function quarantineOf(
  state: RoundState,
  isKept: (sha256: string) => boolean,
): readonly QuarantinedDelta[] {
  const { campaign, round } = state.offer;
  const seats = [...state.seats.values()].sort((a, b) => (a.edge < b.edge ? -1 : 1));
  return seats.flatMap((seat) =>
    quarantinedOf(seat).map((delta) => {
      return { campaign, round, edge: seat.edge, ...delta, kept: isKept(delta.sha256) };
    }),
  );
}

function quarantinedOf(seat: Seat) {
  const isImpostor = seat.bucket === Bucket.QUARANTINED && seat.refusals.length === 0;
  if (!isImpostor) return seat.refusals.map(describe);
  const detail = "not asked to train: it shows another key than the one pinned for its name";
  const nothing = { sha256: "", bytes: 0, codec: "", examples: 0, norm: 0 };
  return [{ reason: seat.reason, detail, ...nothing }];
}

function describe({ reason, detail, manifest }: Refusal) {
  const { delta, examples, norm, format } = manifest;
  return {
    reason,
    detail,
    sha256: delta?.sha256 ?? "",
    bytes: Number(delta?.bytes ?? 0),
    codec: format ? (codecName(format) ?? "") : "",
    examples,
    // JSON has no NaN.
    norm: Number.isFinite(norm) ? norm : 0,
  };
}
