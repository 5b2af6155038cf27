// Decides how much of each waiting prompt is read in the next step, so that running streams keep
// moving and no newcomer starves another.

/** Prompt tokens read in a step beside running streams: small, since they all wait for it. */
export const PREFILL_BESIDE_STREAMS = 64;
/** Prompt tokens read in a step when nothing is being generated; bounds how late an abort is. */
export const PREFILL_ALONE = 128;
const SHARE_MIN = 16;

/**
 * Shares out one step's prefill budget. `wanted` holds the tokens that each newcomer still has to
 * read, `turn` counts steps: when not all fit, the first in line changes with it.
 * Returns the tokens for each newcomer, in the order of `wanted`.
 */
export function prefillTurns(wanted: readonly number[], streams: number, turn: number): number[] {
  let budget = streams > 0 ? PREFILL_BESIDE_STREAMS : PREFILL_ALONE;
  const turns = wanted.map(() => 0);
  const count = wanted.length;
  if (count === 0) return turns;
  const share = Math.max(SHARE_MIN, Math.floor(budget / count));
  for (let pass = 0; pass < 2 && budget > 0; pass++) {
    for (let offset = 0; offset < count && budget > 0; offset++) {
      const index = (turn + offset) % count;
      const left = wanted[index]! - turns[index]!;
      // What the short ones leave goes, on the second pass, to whoever is first in line.
      const tokens = Math.min(left, budget, pass === 0 ? share : budget);
      turns[index]! += tokens;
      budget -= tokens;
    }
  }
  return turns;
}
