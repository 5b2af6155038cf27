// Carries records into a KV bucket and, at the start, out of it: whichever side has the newer
// revision of a record wins, so that either may be lost. Writes are never held up by NATS.
import type { KV } from "@nats-io/kv";
import type { Clock, Timer } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import { parseRecord } from "./record-log.ts";
import type { RecordStore } from "./record-store.ts";

const RETRY_MS = 1_000;
/** Every record is compared with the bucket again so often: a server may have lost its disk. */
const RECONCILE_MS = 30_000;

export interface KvReplicaOptions {
  readonly store: RecordStore;
  /** Opens the bucket; called again after a failure. */
  readonly open: () => Promise<KV>;
  readonly clock: Clock;
  readonly log: Log;
}

export class KvReplica {
  /** Resolves once the bucket has been read: nothing that it knows is missing here any more. */
  readonly reconciled: Promise<void>;
  readonly #options: KvReplicaOptions;
  readonly #dirty = new Set<string>();
  readonly #markReconciled: () => void;
  readonly #unsubscribe: () => void;
  readonly #reconcileTimer: Timer;
  #kv: KV | undefined;
  #due = true;
  #retry: Timer | undefined;
  #running: Promise<void> | undefined;
  #stopped = false;

  constructor(options: KvReplicaOptions) {
    this.#options = options;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.reconciled = promise;
    this.#markReconciled = resolve;
    this.#unsubscribe = options.store.onWrite(({ key }) => {
      this.#dirty.add(key);
      this.#wake();
    });
    this.#reconcileTimer = options.clock.every(RECONCILE_MS, () => {
      this.#due = true;
      this.#wake();
    });
    this.#wake();
  }

  /** Records that the bucket may not have yet; all of them, before it has been read. */
  get lag(): number {
    return this.#due ? this.#options.store.list().length : this.#dirty.size;
  }

  /** Waits for the write under way, if any; what is left is carried over at the next start. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#unsubscribe();
    this.#reconcileTimer.cancel();
    this.#retry?.cancel();
    await this.#running;
  }

  #wake(): void {
    if (this.#stopped || this.#running !== undefined || this.#retry !== undefined) return;
    this.#running = this.#work().finally(() => {
      this.#running = undefined;
      if (this.#retry === undefined && (this.#due || this.#dirty.size > 0)) this.#wake();
    });
  }

  async #work(): Promise<void> {
    try {
      this.#kv ??= await this.#options.open();
      if (this.#due) await this.#reconcile(this.#kv);
      for (const key of [...this.#dirty]) {
        if (this.#stopped) return;
        await this.#carry(this.#kv, key);
      }
    } catch (thrown) {
      this.#kv = undefined;
      this.#due = true;
      this.#options.log.warn({ err: thrown }, "records wait for the bucket");
      if (this.#stopped) return;
      this.#retry = this.#options.clock.after(RETRY_MS, () => {
        this.#retry = undefined;
        this.#wake();
      });
    }
  }

  async #reconcile(kv: KV): Promise<void> {
    const { store } = this.#options;
    const there = new Set<string>();
    for await (const key of await kv.keys()) there.add(key);
    for (const key of there) {
      const entry = await kv.get(key);
      if (entry === null || entry.operation !== "PUT") continue;
      const record = parseRecord(entry.string());
      store.adopt(record);
      if ((store.get(key)?.revision ?? 0) > record.revision) this.#dirty.add(key);
      else this.#dirty.delete(key);
    }
    for (const { key } of store.list()) if (!there.has(key)) this.#dirty.add(key);
    this.#due = false;
    this.#markReconciled();
  }

  async #carry(kv: KV, key: string): Promise<void> {
    const { store } = this.#options;
    const record = store.get(key);
    if (record !== undefined) await kv.put(key, JSON.stringify(record));
    // What was written meanwhile is still to be carried.
    if (store.get(key)?.revision === record?.revision) this.#dirty.delete(key);
  }
}
