// Chooses the sequence on which a job runs, so that as much of its prompt as possible is already
// there: a free sequence that begins the same way, or a copy of another's beginning.

export interface SequenceView {
  readonly tokens: readonly number[];
  readonly busy: boolean;
  /** Larger: used more recently. */
  readonly lastUse: number;
}

export interface SequenceChoice {
  /** Index of the sequence to run on. */
  readonly target: number;
  /** Index of the sequence whose beginning is copied first, null for none. */
  readonly source: number | null;
  /** Tokens of the prompt that will be there already. */
  readonly shared: number;
}

/** A copy has a price, and the target loses what it held: the gain must be worth it. */
export const COPY_GAIN_MIN = 32;

/** Returns null when every sequence is busy. */
export function chooseSequence(
  sequences: readonly SequenceView[],
  prompt: readonly number[],
): SequenceChoice | null {
  let own = -1;
  let ownShared = -1;
  let best = -1;
  let bestShared = -1;
  let oldest = -1;
  for (const [index, sequence] of sequences.entries()) {
    const shared = sharedPrefixLength(sequence.tokens, prompt);
    if (shared > bestShared) [best, bestShared] = [index, shared];
    if (sequence.busy) continue;
    const older = own < 0 || sequence.lastUse < sequences[own]!.lastUse;
    if (shared > ownShared || (shared === ownShared && older)) [own, ownShared] = [index, shared];
    if (oldest < 0 || sequence.lastUse < sequences[oldest]!.lastUse) oldest = index;
  }
  if (own < 0) return null;
  if (bestShared - ownShared < COPY_GAIN_MIN) {
    return { target: own, source: null, shared: ownShared };
  }
  return { target: oldest, source: best, shared: bestShared };
}

export function sharedPrefixLength(left: readonly number[], right: readonly number[]): number {
  const most = Math.min(left.length, right.length);
  let length = 0;
  while (length < most && left[length] === right[length]) length++;
  return length;
}
