// One batch of token sequences, laid out as the graph's inputs want it.

import { Fault } from "../../proto/fault.ts";

/** A tokenized example: tokens from `supervisedFrom` on are learned, those before are given. */
export interface TokenSequence {
  readonly tokens: readonly number[];
  readonly supervisedFrom: number;
}

/** The fixed sizes of the graph's inputs. */
export interface BatchSize {
  readonly sequences: number;
  /** Positions a sequence; a sequence of this many tokens plus one fits. */
  readonly positions: number;
  /** Rows that may carry a loss, over the whole batch. */
  readonly supervised: number;
  readonly vocabulary: number;
}

/** Input arrays that are filled anew for every step. */
export class TrainingBatch {
  readonly size: BatchSize;
  readonly tokens: Int32Array;
  /** Which position each supervised row reads. */
  readonly rows: Int32Array;
  /** 1 for rows that carry a loss, 0 for the rest. */
  readonly rowMask: Float32Array;
  /** One-hot targets, [vocabulary, supervised]. */
  readonly labels: Float32Array;
  supervisedCount = 0;
  readonly #hot: number[] = [];

  constructor(size: BatchSize) {
    this.size = size;
    this.tokens = new Int32Array(size.sequences * size.positions);
    this.rows = new Int32Array(size.supervised);
    this.rowMask = new Float32Array(size.supervised);
    this.labels = new Float32Array(size.vocabulary * size.supervised);
  }

  /** Replaces the batch. Faults: invalid-argument, for what doesn't fit or isn't a token. */
  fill(sequences: readonly TokenSequence[]): void {
    const { positions, supervised, vocabulary } = this.size;
    if (sequences.length > this.size.sequences) {
      throw badData("more sequences than the batch has");
    }
    this.tokens.fill(0);
    this.rows.fill(0);
    this.rowMask.fill(0);
    for (const index of this.#hot) this.labels[index] = 0;
    this.#hot.length = 0;
    let row = 0;
    sequences.forEach(({ tokens, supervisedFrom }, sequence) => {
      if (tokens.length > positions + 1) {
        throw badData(`an example of ${tokens.length} tokens; at most ${positions + 1} fit`);
      }
      if (!tokens.every((t) => Number.isInteger(t) && t >= 0 && t < vocabulary)) {
        throw badData(`a token outside of the vocabulary of ${vocabulary}`);
      }
      for (let i = 0; i + 1 < tokens.length; i++) {
        const position = sequence * positions + i;
        this.tokens[position] = tokens[i] as number;
        if (i + 1 < supervisedFrom) continue;
        if (row >= supervised) throw badData(`more than ${supervised} tokens to learn in a batch`);
        const hot = row * vocabulary + (tokens[i + 1] as number);
        this.rows[row] = position;
        this.rowMask[row] = 1;
        this.labels[hot] = 1;
        this.#hot.push(hot);
        row++;
      }
    });
    if (row === 0) throw badData("a batch without a token to learn");
    this.supervisedCount = row;
  }
}

function badData(message: string): Fault {
  return new Fault("invalid-argument", message);
}
