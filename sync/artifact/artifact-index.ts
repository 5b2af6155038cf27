// Which artifacts a store holds, in the order of their last use, and which of them must go when
// there is no room. Pure bookkeeping: the store moves the files.
import type { Sha256 } from "../../proto/ids.ts";

export class ArtifactIndex {
  readonly #bytesOf = new Map<Sha256, number>();
  readonly #pins = new Map<Sha256, number>();
  #bytes = 0;

  /** Sum of the sizes held. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Oldest use first. */
  list(): readonly { readonly sha256: Sha256; readonly bytes: number }[] {
    return [...this.#bytesOf].map(([sha256, bytes]) => ({ sha256, bytes }));
  }

  size(sha256: Sha256): number | undefined {
    return this.#bytesOf.get(sha256);
  }

  /** Adds an artifact, or marks it as used just now. */
  add(sha256: Sha256, bytes: number): void {
    this.remove(sha256);
    this.#bytesOf.set(sha256, bytes);
    this.#bytes += bytes;
  }

  touch(sha256: Sha256): void {
    const bytes = this.#bytesOf.get(sha256);
    if (bytes !== undefined) this.add(sha256, bytes);
  }

  remove(sha256: Sha256): void {
    this.#bytes -= this.#bytesOf.get(sha256) ?? 0;
    this.#bytesOf.delete(sha256);
  }

  /** Keeps an artifact, held already or not, from eviction until the result is called. */
  pin(sha256: Sha256): () => void {
    this.#pins.set(sha256, (this.#pins.get(sha256) ?? 0) + 1);
    let released = false;
    return () => {
      if (released) return;
      released = true;
      const left = (this.#pins.get(sha256) ?? 1) - 1;
      if (left === 0) this.#pins.delete(sha256);
      else this.#pins.set(sha256, left);
    };
  }

  isPinned(sha256: Sha256): boolean {
    return this.#pins.has(sha256);
  }

  /**
   * What to evict, least recently used first, so that `bytes` more fit into `maxBytes`; undefined
   * when pins leave too little room.
   */
  evictionsFor(bytes: number, maxBytes: number): readonly Sha256[] | undefined {
    const gone: Sha256[] = [];
    let held = this.#bytes;
    for (const [sha256, size] of this.#bytesOf) {
      if (held + bytes <= maxBytes) break;
      if (this.#pins.has(sha256)) continue;
      gone.push(sha256);
      held -= size;
    }
    return held + bytes <= maxBytes ? gone : undefined;
  }
}
