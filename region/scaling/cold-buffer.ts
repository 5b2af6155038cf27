// Requests that are kept until an edge is up that can serve them: so many and so large at most, per
// model and in all; interactive before batch, and among equals the first to come goes first. No
// I/O and no clock.

export interface HeldEntry<T> {
  readonly model: string;
  readonly bytes: number;
  readonly priority: "interactive" | "batch";
  /** When its patience or its deadline ends, whichever is sooner. */
  readonly untilMs: number;
  readonly held: T;
}

export interface ColdBufferBounds {
  readonly requestsMax: number;
  readonly requestsPerModelMax: number;
  readonly bytesMax: number;
}

/** Why it isn't kept; or that it is. */
export type Offer = "held" | "full" | "model-full" | "bytes-full";

interface ModelQueue<T> {
  readonly interactive: HeldEntry<T>[];
  readonly batch: HeldEntry<T>[];
}

export class ColdBuffer<T> {
  readonly #bounds: ColdBufferBounds;
  readonly #queues = new Map<string, ModelQueue<T>>();
  #requests = 0;
  #bytes = 0;

  constructor(bounds: ColdBufferBounds) {
    this.#bounds = bounds;
  }

  get size(): number {
    return this.#requests;
  }

  count(model: string): number {
    const queue = this.#queues.get(model);
    return queue === undefined ? 0 : queue.interactive.length + queue.batch.length;
  }

  models(): readonly string[] {
    return [...this.#queues.keys()];
  }

  /** Keeps it, behind those of its model and priority, unless that is too much. */
  offer(entry: HeldEntry<T>): Offer {
    const { requestsMax, requestsPerModelMax, bytesMax } = this.#bounds;
    if (this.#requests >= requestsMax) return "full";
    if (this.count(entry.model) >= requestsPerModelMax) return "model-full";
    if (this.#bytes + entry.bytes > bytesMax) return "bytes-full";
    const queue = this.#queues.get(entry.model) ?? { interactive: [], batch: [] };
    queue[entry.priority].push(entry);
    this.#queues.set(entry.model, queue);
    this.#requests += 1;
    this.#bytes += entry.bytes;
    return "held";
  }

  /** Those of a model in their order. They stay. */
  *waiting(model: string): Generator<HeldEntry<T>, void, undefined> {
    const queue = this.#queues.get(model);
    if (queue === undefined) return;
    yield* [...queue.interactive, ...queue.batch];
  }

  /** Takes the next one of a model out; null when there is none. */
  take(model: string): T | null {
    const queue = this.#queues.get(model);
    const next = queue?.interactive[0] ?? queue?.batch[0];
    if (next === undefined) return null;
    this.remove(next);
    return next.held;
  }

  /** Takes this one out. False when it isn't there any more. */
  remove(entry: HeldEntry<T>): boolean {
    const queue = this.#queues.get(entry.model);
    const line = queue?.[entry.priority];
    const at = line?.indexOf(entry) ?? -1;
    if (queue === undefined || line === undefined || at < 0) return false;
    line.splice(at, 1);
    this.#requests -= 1;
    this.#bytes -= entry.bytes;
    if (queue.interactive.length + queue.batch.length === 0) this.#queues.delete(entry.model);
    return true;
  }

  /** Takes out all whose time has come. */
  expire(nowMs: number): readonly T[] {
    const over: T[] = [];
    for (const model of this.models()) {
      for (const entry of this.waiting(model)) {
        if (entry.untilMs > nowMs) continue;
        this.remove(entry);
        over.push(entry.held);
      }
    }
    return over;
  }
}
