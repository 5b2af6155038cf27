// Chooses the sequence on which a job runs. llama.cpp decodes neighbouring sequences in one batch
// and splits the batch at every gap between them, so a job goes beside the busy ones; what another
// sequence already knows of its prompt is copied there.

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
  const shared = sequences.map(({ tokens }) => sharedPrefixLength(tokens, prompt));
  const free = [...sequences.keys()].filter((index) => !sequences[index]!.busy);
  const neighbours = (index: number) =>
    Number(sequences[index - 1]?.busy ?? false) + Number(sequences[index + 1]?.busy ?? false);
  const most = Math.max(...free.map(neighbours));
  // Longest unused first.
  const beside = free
    .filter((index) => neighbours(index) === most)
    .sort((left, right) => sequences[left]!.lastUse - sequences[right]!.lastUse);
  const [oldest] = beside;
  if (oldest === undefined) return null;
  const own = beside.reduce((best, index) => (shared[index]! > shared[best]! ? index : best));
  const known = shared.indexOf(Math.max(...shared));
  if (shared[known]! - shared[own]! < COPY_GAIN_MIN) {
    return { target: own, source: null, shared: shared[own]! };
  }
  return { target: oldest, source: known, shared: shared[known]! };
}

export function sharedPrefixLength(left: readonly number[], right: readonly number[]): number {
  const most = Math.min(left.length, right.length);
  let length = 0;
  while (length < most && left[length] === right[length]) length++;
  return length;
}
