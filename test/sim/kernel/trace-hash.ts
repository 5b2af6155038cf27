// One running hash over everything that a simulation decided: two runs with equal hashes took the
// same course.
import { hashPair, hashText } from "./random-streams.ts";

export class TraceHash {
  #left = 0x12345678;
  #right = 0x9abcdef0;
  readonly #names = new Map<string, number>();

  number(value: number): this {
    // Times have fractions: whole microseconds are as fine as anything here needs.
    const micros = Math.round(value * 1000);
    const low = micros | 0;
    const high = Math.floor(micros / 2 ** 32) | 0;
    this.#left = hashPair(this.#left ^ high, low);
    this.#right = hashPair(low, this.#right + high);
    return this;
  }

  text(value: string): this {
    let hash = this.#names.get(value);
    if (hash === undefined) {
      hash = hashText(value);
      this.#names.set(value, hash);
    }
    this.#left = hashPair(this.#left, hash);
    this.#right = hashPair(hash, this.#right);
    return this;
  }

  get digest(): string {
    return [this.#left, this.#right].map((lane) => lane.toString(16).padStart(8, "0")).join("");
  }
}
