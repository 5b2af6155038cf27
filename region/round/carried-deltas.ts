// Deltas of earlier rounds that count in a later one, less the older they are: those that came
// after the round of an asynchronous campaign had closed (FedBuff), and those of rounds that had
// to go on without this region, whose edges were told that they count. Each counts once: the
// partial that takes it says so.
import { Bucket, type RoundOffer } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { stalenessWeight } from "../../sync/strategy/staleness-weight.ts";
import { includedSeats, type RoundState, type Seat } from "./round-state.ts";

/** Rounds after which a delta is too old to be of use. */
export const STALENESS_MAX = 20;

/** A delta of an earlier round, as a later one counts it. */
export interface CarriedDelta {
  /** `<edge>@<round>`: an edge may have one of this round, too. */
  readonly name: string;
  readonly seat: Seat;
  /** What is left of its weight. */
  readonly share: number;
  /** The round that it was made in. */
  readonly offer: RoundOffer;
}

export function isCarried({ bucket, manifest }: Seat): boolean {
  return bucket === Bucket.LATE && manifest !== null;
}

/** Whether a delta for this seat would still be of use. */
export function mayBeCarried({ offer, phase }: RoundState, seat: Seat): boolean {
  return offer.asynchronous && phase !== "open" && seat.bucket === Bucket.LATE && !seat.manifest;
}

/** What a round takes over from earlier ones, by name; done again, the same. */
export function carriedDeltas(
  rounds: readonly { readonly state: RoundState }[],
  { offer, partial }: RoundState,
): readonly CarriedDelta[] {
  const isMissed = (round: number) => offer.carriedRounds.includes(round);
  const states = rounds
    .map(({ state }) => state)
    .filter((state) => state.offer.campaign === offer.campaign);
  const counted = new Set(
    states
      .filter(({ offer: { round } }) => round !== offer.round && !isMissed(round))
      .flatMap(namesIn),
  );
  const own = partial && new Set(namesIn({ partial }));
  return states
    .flatMap((state) => {
      const staleness = offer.round - state.offer.round;
      if (staleness < 1 || staleness > STALENESS_MAX) return [];
      const late = offer.asynchronous ? [...state.seats.values()].filter(isCarried) : [];
      const missed = isMissed(state.offer.round) ? takenSeats(state) : [];
      return [...late, ...missed].map((seat) => ({
        name: `${seat.edge}@${state.offer.round}`,
        seat,
        share: stalenessWeight(staleness),
        offer: state.offer,
      }));
    })
    .filter(({ name }) => (own ? own.has(name) : !counted.has(name)))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** But for those that the round's own rule found wanting. */
function takenSeats(state: RoundState): readonly Seat[] {
  const leftOut = new Set(state.partial?.leftOut.map(({ edge }) => edge));
  return includedSeats(state).filter(({ edge }) => !leftOut.has(edge));
}

function namesIn({ partial }: Pick<RoundState, "partial">): string[] {
  if (!partial) return [];
  return [...partial.contributors, ...partial.leftOut.map(({ edge }) => edge)];
}
