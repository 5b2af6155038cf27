// How often each token occurs in the last so many texts.

export class TokenWindow {
  readonly #max: number;
  readonly #texts: (readonly number[])[] = [];
  readonly #counts = new Map<number, number>();

  constructor(textsMax: number) {
    this.#max = textsMax;
  }

  /** Texts in it. */
  get size(): number {
    return this.#texts.length;
  }

  get counts(): ReadonlyMap<number, number> {
    return this.#counts;
  }

  /** The oldest text leaves when there are too many. */
  add(ids: readonly number[]): void {
    this.#texts.push(ids);
    this.#change(ids, 1);
    if (this.#texts.length > this.#max) this.#change(this.#texts.shift()!, -1);
  }

  #change(ids: readonly number[], by: number): void {
    for (const id of ids) {
      const count = (this.#counts.get(id) ?? 0) + by;
      if (count > 0) this.#counts.set(id, count);
      else this.#counts.delete(id);
    }
  }
}
