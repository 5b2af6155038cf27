// A rate that jumps between calm and busy at random times (Markov-modulated Poisson arrivals),
// drawn ahead and scaled so that its mean over the run is what was asked for.
import type { Random } from "../../../runtime/random.ts";
import { exponential } from "../kernel/random-streams.ts";

/** Mean times of being calm and busy. */
const CALM_MS = 9000;
const BUSY_MS = 3000;

interface Spell {
  readonly untilMs: number;
  readonly factor: number;
}

export class Bursts {
  /** The highest factor. */
  readonly most: number;
  readonly #spells: Spell[] = [];
  #at = 0;

  /** `burst`: the busy rate against the mean one; 1 for a steady rate. */
  constructor(burst: number, fromMs: number, untilMs: number, random: Random) {
    const busyShare = BUSY_MS / (CALM_MS + BUSY_MS);
    const calm = Math.max(0, (1 - busyShare * burst) / (1 - busyShare));
    const spells: { fromMs: number; untilMs: number; factor: number }[] = [];
    let isBusy = random() < busyShare;
    for (let atMs = fromMs; atMs < untilMs; isBusy = !isBusy) {
      const endMs =
        burst === 1
          ? untilMs
          : Math.min(untilMs, atMs + exponential(random, isBusy ? BUSY_MS : CALM_MS));
      spells.push({ fromMs: atMs, untilMs: endMs, factor: isBusy ? burst : calm });
      atMs = endMs;
    }
    const sum = spells.reduce(
      (total, each) => total + each.factor * (each.untilMs - each.fromMs),
      0,
    );
    const mean = sum / (untilMs - fromMs);
    for (const each of spells) {
      this.#spells.push({ untilMs: each.untilMs, factor: each.factor / mean });
    }
    this.most = Math.max(...this.#spells.map(({ factor }) => factor));
  }

  /** Times must not go back from one call to the next. */
  at(ms: number): number {
    while (this.#at < this.#spells.length - 1 && ms >= this.#spells[this.#at]!.untilMs)
      this.#at += 1;
    return this.#spells[this.#at]!.factor;
  }
}
