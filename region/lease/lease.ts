// An instance's hold on the region's lease: reads and writes the record in the region's KV as the
// state machine asks for it, and tells when the duties begin and end here.
import type { KV } from "@nats-io/kv";
import type { Clock, Timer } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import { decodeLease, encodeLease } from "./lease-record.ts";
import {
  afterDoubt,
  afterReading,
  afterWriting,
  type Claimant,
  type LeaseRecord,
  type LeaseState,
  leaseHolder,
  leaseStep,
  mayAct,
  startLease,
} from "./lease-state.ts";

export const LEASE_BUCKET = "isthmus_lease";
/** How often the record is looked at. */
const POLL_MS = 200;
/** An answer that takes longer is none. */
const ANSWER_MAX_MS = 1000;
/** Readings that fail in a row before the store counts as away. */
const FAILURES_MAX = 3;
/** Steps in one go: read, take, and once more each when somebody came between. */
const STEPS_MAX = 4;

export interface LeaseOptions {
  readonly bucket: () => Promise<Pick<KV, "get" | "put">>;
  /** Of the record in the bucket. */
  readonly key: string;
  readonly me: Claimant;
  readonly clock: Clock;
  readonly log: Log;
}

export class Lease {
  readonly #options: LeaseOptions;
  readonly #listeners = new Set<() => void>();
  #state: LeaseState;
  #bucket: Pick<KV, "get" | "put"> | null = null;
  #tick: Timer | null = null;
  #failures = 0;
  #stepping: Promise<void> | null = null;
  /** What the listeners were told last. */
  #told = "";

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.#state = startLease(options.me);
  }

  /** Whether this instance may do now what only one may do. */
  get acts(): boolean {
    return mayAct(this.#state, this.#nowMs);
  }

  /** Who has the lease, as far as is known here. */
  get holder(): LeaseRecord | null {
    return leaseHolder(this.#state, this.#nowMs);
  }

  /** The record that was seen last, whoever's it is. */
  get record(): LeaseRecord | null {
    return this.#state.record;
  }

  /** Whether nobody can know now who has the lease, because its store doesn't answer. */
  get isAway(): boolean {
    return this.#failures >= FAILURES_MAX;
  }

  get me(): Claimant {
    return this.#options.me;
  }

  /** Calls when this instance begins or ceases to act, and when another one has the lease. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  start(): void {
    this.#tick = this.#options.clock.every(POLL_MS, () => this.#onTick());
    this.#onTick();
  }

  /** Gives the lease back, so that another one need not wait for its end. */
  async stop(): Promise<void> {
    this.#tick?.cancel();
    this.#listeners.clear();
    await this.#stepping;
    const { record, sequence } = this.#state;
    if (sequence === null || record === null || this.holder?.instance !== this.me.instance) return;
    try {
      await this.#write({ ...record, released: true }, sequence);
    } catch (thrown) {
      this.#options.log.debug({ err: thrown }, "the lease can't be given back; it will run out");
    }
  }

  get #nowMs(): number {
    return this.#options.clock.monotonicMs();
  }

  #onTick(): void {
    this.#look();
    this.#stepping ??= this.#steps().finally(() => {
      this.#stepping = null;
      this.#look();
    });
  }

  /** Tells the listeners what has changed, if only by time. */
  #look(): void {
    const { holder } = this;
    const now = `${this.acts} ${holder?.instance} ${holder?.incarnation} ${holder?.term}`;
    if (now === this.#told) return;
    this.#told = now;
    for (const listener of [...this.#listeners]) listener();
  }

  async #steps(): Promise<void> {
    for (let count = 0; count < STEPS_MAX; count += 1) {
      const step = leaseStep(this.#state, this.#nowMs);
      if (step.kind === "wait") return;
      try {
        if (step.kind === "write") await this.#write(step.record, step.sequence);
        else await this.#read();
      } catch (thrown) {
        // Refused, or unheard of: what stands there must be read before anything is written. Opened
        // anew, too: its server may have come back without its data.
        this.#state = afterDoubt(this.#state);
        this.#bucket = null;
        this.#options.log.debug({ err: thrown, step: step.kind }, "the lease");
        if (step.kind === "read") {
          this.#failures += 1;
          return;
        }
      }
      this.#look();
      if (step.kind === "read" && leaseStep(this.#state, this.#nowMs).kind !== "write") return;
    }
  }

  async #read(): Promise<void> {
    const entry = await this.#with((bucket) => bucket.get(this.#options.key));
    const record = entry?.operation === "PUT" ? decodeLease(entry.value) : null;
    this.#failures = 0;
    this.#state = afterReading(this.#state, entry?.revision ?? 0, record, this.#nowMs);
  }

  async #write(record: LeaseRecord, previousSeq: number): Promise<void> {
    const { key } = this.#options;
    const sentMs = this.#nowMs;
    const sequence = await this.#with((bucket) =>
      bucket.put(key, encodeLease(record), { previousSeq }),
    );
    this.#state = afterWriting(this.#state, sequence, record, sentMs);
  }

  /** Bounded in time: what comes later is read again. */
  async #with<T>(use: (bucket: Pick<KV, "get" | "put">) => Promise<T>): Promise<T> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = this.#options.clock.after(ANSWER_MAX_MS, () => {
      reject(new Error(`no answer in ${ANSWER_MAX_MS} ms`));
    });
    const work = async () => {
      this.#bucket ??= await this.#options.bucket();
      return await use(this.#bucket);
    };
    const done = work();
    done.catch(() => {}); // once it is late, nobody waits for it
    try {
      return await Promise.race([done, late]);
    } finally {
      timer.cancel();
    }
  }
}
