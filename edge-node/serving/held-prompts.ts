// Which prompts the engine still holds the state of, as blocks (runtime/prefix): what was asked is
// remembered here under a label, and the engine says which labels its sequences hold.
import type { HeldPrompt } from "../engine/engine.ts";

/** Blocks told at most; those of the prompts read last come first. */
export const HELD_BLOCKS_MAX = 512;
/** More than an engine has sequences, with those that are about to get one. */
const PROMPTS_MAX = 1024;

interface Prompt {
  readonly blocks: readonly number[];
  /** 0 until the engine has counted them. */
  tokens: number;
}

export class HeldPrompts {
  readonly #prompts = new Map<string, Prompt>();
  #lastLabel = 0;

  /** Remembers a prompt that an engine is about to read; returns its label. */
  add(blocks: readonly number[]): string {
    if (this.#prompts.size >= PROMPTS_MAX) this.#forgetOldest();
    const label = `${++this.#lastLabel}`;
    this.#prompts.set(label, { blocks, tokens: 0 });
    return label;
  }

  /** The engine has counted the prompt's tokens. */
  counted(label: string, tokens: number): void {
    const prompt = this.#prompts.get(label);
    if (prompt !== undefined) prompt.tokens = tokens;
  }

  /** Blocks of what is held for a version, in ascending order; whole blocks only. */
  blocksOf(held: readonly HeldPrompt[], version: string): readonly number[] {
    const blocks = new Set<number>();
    const newestFirst = held
      .filter((each) => each.version === version)
      .sort((a, b) => Number(b.label) - Number(a.label));
    for (const { label, tokens } of newestFirst) {
      for (const block of this.#blocksWithin(label, tokens)) {
        if (blocks.size >= HELD_BLOCKS_MAX) break;
        blocks.add(block);
      }
      this.#touch(label);
    }
    return [...blocks].sort((a, b) => a - b);
  }

  /** A prompt that was left half-way is held only so far. */
  #blocksWithin(label: string, tokens: number): readonly number[] {
    const prompt = this.#prompts.get(label);
    if (prompt === undefined || prompt.tokens === 0) return [];
    const share = Math.min(1, tokens / prompt.tokens);
    return prompt.blocks.slice(0, Math.floor(prompt.blocks.length * share));
  }

  /** What is still held is forgotten last. */
  #touch(label: string): void {
    const prompt = this.#prompts.get(label);
    if (prompt === undefined) return;
    this.#prompts.delete(label);
    this.#prompts.set(label, prompt);
  }

  #forgetOldest(): void {
    for (const label of this.#prompts.keys()) {
      this.#prompts.delete(label);
      return;
    }
  }
}
