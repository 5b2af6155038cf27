// The secret seed of one round's noise. A merge that is done again after a crash must add the same
// noise: two noised copies of one mean would tell more than was charged for. Whoever had the seed
// could take the noise off again, so it stays in one file of its own and goes with the round.
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type RandomBytes, STREAM_SEED_BYTES } from "../../runtime/random.ts";
import { createFile } from "../../sync/delta/durable-file.ts";

export class NoiseSeeds {
  readonly #dir: string;
  readonly #random: RandomBytes;

  constructor(dir: string, random: RandomBytes) {
    this.#dir = dir;
    this.#random = random;
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  }

  /** The round's seed: made at the first call, durable before it is returned. */
  of(campaign: string, round: number): Uint8Array {
    const path = this.#path(campaign, round);
    createFile(path, this.#random(STREAM_SEED_BYTES));
    // Read back, since an earlier process may have made it.
    const seed = readFileSync(path);
    if (seed.length !== STREAM_SEED_BYTES) throw new Error(`${path} is no seed`);
    return Uint8Array.from(seed);
  }

  /** Forgets all seeds of a campaign but one round's. */
  forgetOthers(campaign: string, round: number | null): void {
    const kept = round === null ? "" : `${campaign}.${round}.seed`;
    for (const name of readdirSync(this.#dir)) {
      const isOurs = name.startsWith(`${campaign}.`) && name !== kept;
      if (isOurs) rmSync(join(this.#dir, name), { force: true });
    }
  }

  #path(campaign: string, round: number): string {
    return join(this.#dir, `${campaign}.${round}.seed`);
  }
}
