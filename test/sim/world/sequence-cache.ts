// What the sequences of a simulated engine hold: the blocks of the request that last ran on each.
// A new request goes where most of its head is, or copies it from another sequence (as
// edge-node/engine/sequence-choice.ts does with tokens).

interface Sequence {
  blocks: readonly number[];
  busy: boolean;
  lastUse: number;
}

export interface SequencePlace {
  readonly sequence: number;
  /** Blocks at the head of the prompt that are there already. */
  readonly shared: number;
}

export class SequenceCache {
  readonly #sequences: Sequence[];
  #uses = 0;
  /** Counts changes of what is held. */
  revision = 0;
  #held: readonly number[] = [];
  #heldAt = -1;

  constructor(sequences: number) {
    this.#sequences = Array.from({ length: sequences }, () => ({
      blocks: [],
      busy: false,
      lastUse: 0,
    }));
  }

  /** Null when every sequence is busy: somebody let in more than there are slots. */
  take(prompt: readonly number[]): SequencePlace | null {
    let target = -1;
    let targetShared = -1;
    let most = 0;
    for (const [at, sequence] of this.#sequences.entries()) {
      const shared = sharedBlocks(sequence.blocks, prompt);
      most = Math.max(most, shared);
      if (sequence.busy) continue;
      const isBetter =
        shared > targetShared ||
        (shared === targetShared && sequence.lastUse < this.#sequences[target]!.lastUse);
      if (target < 0 || isBetter) {
        target = at;
        targetShared = shared;
      }
    }
    if (target < 0) return null;
    const place = this.#sequences[target]!;
    place.busy = true;
    place.blocks = prompt;
    place.lastUse = ++this.#uses;
    this.revision += 1;
    return { sequence: target, shared: most };
  }

  /** The request on it has ended and leaves these blocks. */
  release(sequence: number, blocks: readonly number[]): void {
    const place = this.#sequences[sequence]!;
    place.busy = false;
    place.blocks = blocks;
    place.lastUse = ++this.#uses;
    this.revision += 1;
  }

  /** Each block that is held, once, the longest unused last; at most `most`. */
  held(most: number): readonly number[] {
    if (this.#heldAt !== this.revision) this.#held = this.#collect(most);
    this.#heldAt = this.revision;
    return this.#held;
  }

  #collect(most: number): number[] {
    const blocks = new Set<number>();
    for (const sequence of this.#sequences.toSorted((a, b) => b.lastUse - a.lastUse)) {
      for (const block of sequence.blocks) {
        if (blocks.size >= most) return [...blocks];
        blocks.add(block);
      }
    }
    return [...blocks];
  }
}

function sharedBlocks(held: readonly number[], prompt: readonly number[]): number {
  const most = Math.min(held.length, prompt.length);
  let shared = 0;
  while (shared < most && held[shared] === prompt[shared]) shared += 1;
  return shared;
}
