// Chooses the sequence on which a job runs. llama.cpp decodes neighbouring sequences in one batch
// and splits the batch at every gap between them, so a job goes beside the busy ones; what another
// sequence already knows of its prompt is copied there. A sequence that holds another prompt is
// spared for the one used longest ago, even where it shares a few tokens with the job.

export interface SequenceView {
  readonly tokens: readonly number[];
  /** Leading ones of them that were a prompt, and so may well be asked again. */
  readonly promptTokens: number;
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

/** A copy has a price, and whatever is written over is lost: so many tokens are worth minding. */
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
  if (shared[known]! - shared[own]! >= COPY_GAIN_MIN) {
    return { target: oldest, source: known, shared: shared[known]! };
  }
  const lost = sequences[own]!.promptTokens - shared[own]!;
  if (own === oldest || lost < COPY_GAIN_MIN) {
    return { target: own, source: null, shared: shared[own]! };
  }
  return shared[own]! - shared[oldest]! >= COPY_GAIN_MIN
    ? { target: oldest, source: own, shared: shared[own]! }
    : { target: oldest, source: null, shared: shared[oldest]! };
}

export function sharedPrefixLength(left: readonly number[], right: readonly number[]): number {
  const most = Math.min(left.length, right.length);
  let length = 0;
  while (length < most && left[length] === right[length]) length++;
  return length;
}
