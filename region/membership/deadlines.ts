// When each edge must be looked at next, in buckets of time, so that letting time pass costs as
// much as there is to see, however many edges there are.
import type { EdgeId } from "../../proto/ids.ts";

const BUCKET_MS = 50;
/** What is taken may be due so much later. */
export const DEADLINE_SLACK_MS = BUCKET_MS;

export class Deadlines {
  readonly #buckets = new Map<number, EdgeId[]>();
  /** Everything before this bucket is empty. */
  #first = Infinity;

  /** An edge may be there several times; whoever takes it asks when it is really due. */
  add(edge: EdgeId, dueMs: number): void {
    const bucket = Math.floor(dueMs / BUCKET_MS);
    const edges = this.#buckets.get(bucket);
    if (edges === undefined) this.#buckets.set(bucket, [edge]);
    else edges.push(edge);
    if (bucket < this.#first) this.#first = bucket;
  }

  /** Takes out those that may be due, soonest first. */
  take(nowMs: number): EdgeId[] {
    const last = Math.floor(nowMs / BUCKET_MS);
    const taken: EdgeId[] = [];
    if (this.#first > last) return taken;
    for (let bucket = this.#first; bucket <= last && this.#buckets.size > 0; bucket += 1) {
      const edges = this.#buckets.get(bucket);
      if (edges === undefined) continue;
      for (const edge of edges) taken.push(edge);
      this.#buckets.delete(bucket);
    }
    this.#first = last;
    return taken;
  }
}
