// Whether an edge pulls against the others or against where the model is going: what a flipped sign
// looks like, which no bound on lengths can see.
//
// Edges that hold different data don't have to agree: measured on the demo model (three dialects,
// one an edge, four rounds), deltas of different dialects have cosines from −0.08 to 0.19. But all
// of them had a positive cosine with the start that they trained from, 0.04 to 0.11, where chance
// gives ±0.002: an adapter that learns grows. So two things are told apart from honest difference:
// a delta that contradicts the rest of its tier, and one that shrinks what the others grow.
import type { TierGeometry } from "./tier-geometry.ts";

/** Mean cosine to the others below which a delta contradicts them. */
export const CONTRADICTION = -0.2;
/** Cosine with the start that counts as growing, and below its negative, as shrinking. */
const COURSE = 0.015;
/** Or so many standard deviations of what chance gives for that many numbers, if that is more. */
const CHANCE_DEVIATIONS = 5;

export interface DirectionFacts {
  readonly geometry: TierGeometry;
  /** Cosine of each member with the start; null when there is no start to speak of. */
  readonly course: readonly number[] | null;
  /** Numbers in each delta. */
  readonly numbers: number;
}

export interface Deviant {
  readonly member: number;
  readonly reason: string;
}

/** Those of `among` to leave out; never half of them or more, but one of two. */
export function findDeviants(facts: DirectionFacts, among: readonly number[]): Deviant[] {
  const found = contradicting(facts, among);
  const left = among.filter((i) => !found.some(({ member }) => member === i));
  return [...found, ...againstTheCourse(facts, left)];
}

function contradicting({ geometry }: DirectionFacts, among: readonly number[]): Deviant[] {
  const found: Deviant[] = [];
  let left = [...among];
  while (left.length >= 3 && 2 * (found.length + 1) < among.length) {
    const cosines = left.map((i) => meanCosine(geometry, i, left));
    const worst = cosines.indexOf(Math.min(...cosines));
    if (cosines[worst]! > CONTRADICTION) break;
    const reason = `contradicts the others (mean cosine ${cosines[worst]!.toFixed(2)})`;
    found.push({ member: left[worst]!, reason });
    left = left.filter((_, k) => k !== worst);
  }
  return found;
}

function againstTheCourse(facts: DirectionFacts, among: readonly number[]): Deviant[] {
  const { course, numbers } = facts;
  if (course === null || numbers === 0) return [];
  const limit = Math.max(COURSE, CHANCE_DEVIATIONS / Math.sqrt(numbers));
  return among.flatMap((i) => {
    const others = among.filter((j) => j !== i).map((j) => course[j]!);
    const usual = lowerMedian(others);
    if (course[i]! > -1 * limit || usual < limit) return [];
    const reason =
      `goes back where the others go on (cosine with the start ${course[i]!.toFixed(3)}, ` +
      `theirs ${usual.toFixed(3)})`;
    return [{ member: i, reason }];
  });
}

function meanCosine(geometry: TierGeometry, i: number, among: readonly number[]): number {
  const cosines = among.filter((j) => j !== i).map((j) => geometry.cosine(i, j));
  return cosines.reduce((sum, cosine) => sum + cosine, 0) / cosines.length;
}

/** −∞ for none, so that nobody alone is judged. */
function lowerMedian(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[(sorted.length - 1) >> 1] ?? Number.NEGATIVE_INFINITY;
}
