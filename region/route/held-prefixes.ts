// What one edge holds of prompts for one model: the blocks that it told, and those that were sent
// there since. Keeps the index in step with both.
import type { BlockIndex } from "./block-index.ts";

/** What was sent so lately may be missing from what an edge tells. */
const SENT_GRACE_MS = 2000;
const SENT_MAX = 1024;
const nothing: readonly number[] = [];

export class HeldPrefixes {
  readonly #index: BlockIndex;
  readonly #row: number;
  #told: readonly number[] = nothing;
  #toldSet: ReadonlySet<number> = new Set();
  /** When each block was last sent, oldest first. */
  readonly #sent = new Map<number, number>();
  /** Whether it has ever told anything: then what it doesn't tell isn't there. */
  hasTold = false;

  constructor(index: BlockIndex, row: number) {
    this.#index = index;
    this.#row = row;
  }

  /** What it says replaces what was guessed before. */
  told(blocks: readonly number[], nowMs: number): void {
    this.hasTold = true;
    this.#dropSent(nowMs - SENT_GRACE_MS);
    if (areSame(blocks, this.#told)) return;
    const before = this.#toldSet;
    const now = new Set<number>();
    for (const block of blocks) now.add(block | 0);
    this.#told = blocks;
    this.#toldSet = now;
    for (const block of now) if (!before.has(block)) this.#index.add(block, this.#row);
    for (const block of before) {
      if (!now.has(block) && !this.#sent.has(block)) this.#index.remove(block, this.#row);
    }
  }

  sent(blocks: readonly number[], nowMs: number): void {
    for (const unsigned of blocks) {
      const block = unsigned | 0;
      this.#sent.delete(block);
      this.#sent.set(block, nowMs);
      this.#index.add(block, this.#row);
    }
    if (this.#sent.size > SENT_MAX) this.#dropOldest(this.#sent.size - SENT_MAX);
  }

  clear(): void {
    for (const block of this.#toldSet) this.#index.remove(block, this.#row);
    for (const block of this.#sent.keys()) this.#index.remove(block, this.#row);
    this.#told = nothing;
    this.#toldSet = new Set();
    this.#sent.clear();
  }

  #dropSent(beforeMs: number): void {
    for (const [block, atMs] of this.#sent) {
      if (atMs >= beforeMs) return;
      this.#drop(block);
    }
  }

  #dropOldest(count: number): void {
    let left = count;
    for (const block of this.#sent.keys()) {
      if (left === 0) return;
      left -= 1;
      this.#drop(block);
    }
  }

  #drop(block: number): void {
    this.#sent.delete(block);
    if (!this.#toldSet.has(block)) this.#index.remove(block, this.#row);
  }
}

function areSame(a: readonly number[], b: readonly number[]): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let k = 0; k < a.length; k += 1) if (a[k] !== b[k]) return false;
  return true;
}
