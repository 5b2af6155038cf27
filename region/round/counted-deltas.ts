// Which deltas have counted already: one that comes again in another round, signed anew, is a
// replay, since another round's seed never leads to the same numbers.
import type { RoundOffer } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import type { RoundRunner } from "./round-runner.ts";
import { includedSeats } from "./round-state.ts";

/**
 * Digests of the deltas in the partials of a model's other rounds, each with the round's name; but
 * not of rounds that went on without them.
 */
export function countedDeltas(
  rounds: readonly Pick<RoundRunner, "state">[],
  present: Pick<RoundRunner, "state">,
): ReadonlyMap<string, string> {
  const counted = new Map<string, string>();
  for (const { state } of rounds) {
    const { offer, partial } = state;
    if (state === present.state || offer.model !== present.state.offer.model) continue;
    if (isMissed(offer, present.state.offer)) continue;
    for (const { edge, manifest } of includedSeats(state)) {
      if (!partial?.contributors.includes(edge)) continue;
      counted.set(manifest!.delta!.sha256, `round ${offer.round} of ${offer.campaign}`);
    }
  }
  return counted;
}

function isMissed(past: RoundOffer, { campaign, carriedRounds }: RoundOffer): boolean {
  return past.campaign === campaign && carriedRounds.includes(past.round);
}
