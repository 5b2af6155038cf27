// The edges that hold one prompt block, by their row: a short list while they are few, one bit each
// once they are many, as with a prompt that everybody shares.

const SPARSE_MAX = 24;
const BITS = 32;

export class Holders {
  #rows: number[] | null;
  #bits: Uint32Array | null = null;
  #count = 1;

  constructor(row: number) {
    this.#rows = [row];
  }

  get isDense(): boolean {
    return this.#bits !== null;
  }

  get count(): number {
    return this.#count;
  }

  has(row: number): boolean {
    if (this.#rows !== null) return this.#rows.includes(row);
    return ((this.#bits![row >>> 5] ?? 0) & (1 << (row & 31))) !== 0;
  }

  /** `mayBeDense` false keeps the list short by dropping the first. True once it became dense. */
  add(row: number, mayBeDense: boolean): boolean {
    if (this.#rows === null) {
      this.#set(row);
      return false;
    }
    if (this.#rows.includes(row)) return false;
    this.#rows.push(row);
    this.#count += 1;
    if (this.#rows.length <= SPARSE_MAX) return false;
    if (!mayBeDense) {
      this.#rows.shift();
      this.#count -= 1;
      return false;
    }
    const rows = this.#rows;
    this.#rows = null;
    this.#bits = new Uint32Array(1 + (Math.max(...rows) >>> 5));
    this.#count = 0;
    for (const one of rows) this.#set(one);
    return true;
  }

  remove(row: number): void {
    if (this.#rows !== null) {
      const at = this.#rows.indexOf(row);
      if (at < 0) return;
      this.#rows.splice(at, 1);
      this.#count -= 1;
      return;
    }
    const bits = this.#bits!;
    const word = bits[row >>> 5] ?? 0;
    const bit = 1 << (row & 31);
    if ((word & bit) === 0) return;
    bits[row >>> 5] = word & ~bit;
    this.#count -= 1;
  }

  /** Marks them in `seen`, one bit a row. Requires: a dense one. */
  mark(seen: Uint32Array): void {
    const bits = this.#bits!;
    const words = Math.min(bits.length, seen.length);
    for (let word = 0; word < words; word += 1) seen[word]! |= bits[word]!;
  }

  /** Appends to `rows` those that `seen` (one bit a row) lacks, and marks them there. */
  collect(seen: Uint32Array, rows: Int32Array, from: number): number {
    let count = from;
    if (this.#rows !== null) {
      for (const row of this.#rows) {
        const bit = 1 << (row & 31);
        if ((seen[row >>> 5]! & bit) !== 0) continue;
        seen[row >>> 5]! |= bit;
        rows[count] = row;
        count += 1;
      }
      return count;
    }
    const bits = this.#bits!;
    const words = Math.min(bits.length, seen.length);
    for (let word = 0; word < words; word += 1) {
      let left = bits[word]! & ~seen[word]!;
      if (left === 0) continue;
      seen[word]! |= left;
      while (left !== 0) {
        const bit = 31 - Math.clz32(left);
        rows[count] = word * BITS + bit;
        count += 1;
        left &= ~(1 << bit);
      }
    }
    return count;
  }

  #set(row: number): void {
    const at = row >>> 5;
    if (at >= this.#bits!.length) {
      const wider = new Uint32Array(at * 2);
      wider.set(this.#bits!);
      this.#bits = wider;
    }
    const bit = 1 << (row & 31);
    if ((this.#bits![at]! & bit) !== 0) return;
    this.#bits![at]! |= bit;
    this.#count += 1;
  }
}
