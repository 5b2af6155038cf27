// How many tokens a completion is expected to have: the mean of those that ended, of the same
// tenant where enough are known, else of prompts of about the same length, else of the model.
import { LRUCache } from "lru-cache";
import { promptClass } from "./prompt-class.ts";

/** Where nothing is learnt. */
const UNKNOWN_TOKENS = 128;
const KEYS_MAX = 4096;
const WEIGHT = 0.05;
/** Completions after which a mean is believed. */
const SAMPLES_MIN = 8;

interface Mean {
  tokens: number;
  samples: number;
}

export interface LengthQuery {
  readonly model: string;
  /** Empty for the common one. */
  readonly tenant: string;
  readonly promptTokens: number;
}

export class ExpectedLength {
  readonly #means = new LRUCache<string, Mean>({ max: KEYS_MAX });

  learn(query: LengthQuery, tokens: number): void {
    for (const key of keysOf(query)) {
      const mean = this.#means.get(key);
      if (mean === undefined) {
        this.#means.set(key, { tokens, samples: 1 });
        continue;
      }
      mean.samples += 1;
      mean.tokens += Math.max(WEIGHT, 1 / mean.samples) * (tokens - mean.tokens);
    }
  }

  /** `maxTokens` bounds it; 0 for no bound. */
  of(query: LengthQuery, maxTokens: number): number {
    let tokens = UNKNOWN_TOKENS;
    for (const key of keysOf(query)) {
      const mean = this.#means.get(key);
      if (mean === undefined || mean.samples < SAMPLES_MIN) continue;
      tokens = mean.tokens;
      break;
    }
    return Math.max(1, maxTokens > 0 ? Math.min(tokens, maxTokens) : tokens);
  }
}

/** From the most telling to the least. */
function keysOf({ model, tenant, promptTokens }: LengthQuery): string[] {
  const common = [`${model} ~${promptClass(promptTokens)}`, model];
  return tenant === "" ? common : [`${model} ${tenant}`, ...common];
}
