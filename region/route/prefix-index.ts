// Which edges hold the state of which prompt heads, as far as this region knows from what it sent.
// It makes the uncached part of a prompt, and with that keeps a conversation where it is.
import { LRUCache } from "lru-cache";
import { BLOCK_CHARS } from "../../runtime/prefix/prompt-blocks.ts";

const BLOCKS_MAX = 100_000;
/** The edges remembered for one block: the last that got it. */
const EDGES_PER_BLOCK_MAX = 4;
const CHARS_PER_TOKEN = 4;

export class PrefixIndex {
  readonly #holders = new LRUCache<number, readonly string[]>({ max: BLOCKS_MAX });

  /** An edge has been sent a prompt with these blocks. */
  sent(blocks: readonly number[], edge: string): void {
    for (const block of blocks) {
      const others = (this.#holders.get(block) ?? []).filter((holder) => holder !== edge);
      this.#holders.set(block, [edge, ...others].slice(0, EDGES_PER_BLOCK_MAX));
    }
  }

  /** Tokens of the prompt's head that each edge is thought to hold. */
  cachedTokens(blocks: readonly number[]): ReadonlyMap<string, number> {
    const tokens = new Map<string, number>();
    for (const [at, block] of blocks.entries()) {
      for (const edge of this.#holders.get(block) ?? []) {
        tokens.set(edge, ((at + 1) * BLOCK_CHARS) / CHARS_PER_TOKEN);
      }
    }
    return tokens;
  }
}
