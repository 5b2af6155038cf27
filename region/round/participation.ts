// What each edge did in the rounds that this region remembers: who drops out again and again is
// asked last, who waits longest for a turn first. Pure.
import { Bucket } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import type { Standing } from "./invitation.ts";
import type { RoundState } from "./round-state.ts";

/** The standings of a model's edges after these rounds, in whatever order they come. */
export function standingsOf(
  rounds: readonly RoundState[],
  model: string,
): ReadonlyMap<string, Standing> {
  const standings = new Map<string, Standing>();
  const past = rounds
    .filter(({ phase, offer }) => phase === "done" && offer.model === model)
    .sort((a, b) => a.openedMs - b.openedMs);
  for (const { seats, openedMs } of past) {
    for (const { edge, bucket, surplus } of seats.values()) {
      // It would have come, but others were faster.
      if (surplus) continue;
      const { missed, includedMs } = standings.get(edge) ?? { missed: 0, includedMs: 0 };
      const isIn = bucket === Bucket.INCLUDED;
      standings.set(edge, {
        missed: isIn ? 0 : missed + 1,
        includedMs: isIn ? openedMs : includedMs,
      });
    }
  }
  return standings;
}
