// Which edges hold the state of which prompt heads, as far as this region knows: from what they say
// and from what it sent them. Approximate, and bounded: blocks unused for long are forgotten.
import { LRUCache } from "lru-cache";
import { BLOCK_CHARS } from "../../runtime/prefix/prompt-blocks.ts";
import { Holders } from "./holders.ts";

export const BLOCKS_MAX = 1 << 17;
/** Blocks that many edges share; each costs a bit for every edge. */
const DENSE_MAX = 2048;
const ROWS_MIN = 1024;
const CHARS_PER_TOKEN = 4;
const BITS = 32;
const ALL = 0xffff_ffff;

export const TOKENS_PER_BLOCK = BLOCK_CHARS / CHARS_PER_TOKEN;

export class BlockIndex {
  readonly #holders: LRUCache<number, Holders>;
  #dense = 0;
  #seen = new Uint32Array(ROWS_MIN >>> 5);
  /** The answer of `find`: what all hold but those listed, by row, with what they hold instead. */
  commonBlocks = 0;
  rows = new Int32Array(ROWS_MIN);
  blocks = new Uint16Array(ROWS_MIN);

  constructor(blocksMax: number = BLOCKS_MAX) {
    this.#holders = new LRUCache({
      max: blocksMax,
      dispose: (holders) => {
        if (holders.isDense) this.#dense -= 1;
      },
    });
  }

  get size(): number {
    return this.#holders.size;
  }

  add(block: number, row: number): void {
    // As signed integers, blocks are plain small numbers to the engine.
    const holders = this.#holders.get(block | 0);
    if (holders === undefined) this.#holders.set(block | 0, new Holders(row));
    else if (holders.add(row, this.#dense < DENSE_MAX)) this.#dense += 1;
    if (row >= this.rows.length) this.#widen(row);
  }

  remove(block: number, row: number): void {
    const holders = this.#holders.peek(block | 0);
    holders?.remove(row);
    if (holders?.count === 0) this.#holders.delete(block | 0);
  }

  /**
   * Finds what the edges (rows below `edges`) hold of the head of this prompt. A block names
   * everything before it, so the deepest one that an edge holds is what counts. Where most hold a
   * common head, only the others are listed. Returns how many are.
   */
  find(promptBlocks: readonly number[], edges: number): number {
    if (edges > this.rows.length) this.#widen(edges);
    const chain = this.#chainOf(promptBlocks);
    this.commonBlocks = 0;
    if (chain.length === 0) return 0;
    let count = 0;
    for (let depth = chain.length; depth > 0; depth -= 1) {
      const holders = chain[depth - 1]!;
      if (this.commonBlocks === 0 && holders.count * 2 > edges && holders.isDense) {
        this.commonBlocks = depth;
        holders.mark(this.#seen);
        continue;
      }
      const from = count;
      count = holders.collect(this.#seen, this.rows, from);
      if (count > from) this.blocks.fill(depth, from, count);
    }
    if (this.commonBlocks > 0) {
      const from = count;
      count = this.#collectUnseen(edges, from);
      this.blocks.fill(0, from, count);
    }
    this.#seen.fill(0);
    return count;
  }

  /** Blocks at the prompt's head that one edge holds. */
  blocksAt(row: number, promptBlocks: readonly number[]): number {
    const chain = this.#chainOf(promptBlocks);
    for (let depth = chain.length; depth > 0; depth -= 1) {
      if (chain[depth - 1]!.has(row)) return depth;
    }
    return 0;
  }

  /** Edges that were not seen hold nothing. */
  #collectUnseen(edges: number, from: number): number {
    let count = from;
    for (let word = 0; word * BITS < edges; word += 1) {
      if (this.#seen[word] === ALL) continue;
      const end = Math.min(edges, (word + 1) * BITS);
      for (let row = word * BITS; row < end; row += 1) {
        if ((this.#seen[word]! & (1 << (row & 31))) !== 0) continue;
        this.rows[count] = row;
        count += 1;
      }
    }
    return count;
  }

  #chainOf(promptBlocks: readonly number[]): Holders[] {
    const chain: Holders[] = [];
    for (let k = 0; k < promptBlocks.length; k += 1) {
      const holders = this.#holders.get(promptBlocks[k]! | 0);
      if (holders === undefined) break;
      chain.push(holders);
    }
    return chain;
  }

  #widen(row: number): void {
    const length = 2 ** Math.ceil(Math.log2(row + 1));
    this.#seen = new Uint32Array(length >>> 5);
    this.rows = new Int32Array(length);
    this.blocks = new Uint16Array(length);
  }
}
