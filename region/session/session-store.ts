// The sessions of a region, in a bucket of its own JetStream domain: compared and set by the
// bucket's sequence, so that two writers never overwrite each other unseen.
//
// What is stored is acknowledged by the domain's file store; it outlives every process.
import { toBinary } from "@bufbuild/protobuf";
import { JetStreamApiError } from "@nats-io/jetstream";
import type { KV } from "@nats-io/kv";
import { Fault } from "../../proto/fault.ts";
import { type Session, SessionSchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { NatsLink } from "../../runtime/nats/connection.ts";
import { readSession, SESSION_BYTES_MAX } from "./session-rules.ts";
import { conflictOf, heldVersion, type SessionConflict } from "./session-version.ts";

export const SESSIONS_BUCKET = "isthmus_sessions";
const SESSION_TTL_MS = 24 * 3_600_000;
/** Of all sessions in a region; a full bucket takes no more turns until old ones are forgotten. */
const BUCKET_BYTES_MAX = 256 << 20;
/** Longer than this, and the store counts as away: a caller waits for it. */
const STORE_TIMEOUT_MS = 1500;
/** Times that a write is tried again over one which came between. */
const CONTENTION_MAX = 8;
const RETRY_AFTER_MS = 1000;
/** JetStream's code for a sequence that isn't the last one any more. */
const WRONG_LAST_SEQUENCE = 10071;

export interface StoredSession {
  readonly session: Session;
  /** Of the bucket; what a write over this version must name. */
  readonly sequence: number;
}

export interface KeptSession extends StoredSession {
  /** Between what was stored and what was offered. */
  readonly conflict: SessionConflict | null;
}

export interface SessionStoreOptions {
  readonly nats: Pick<NatsLink, "kv">;
  readonly domain: string;
  readonly clock: Clock;
}

/** Every method faults with `unavailable` while the domain's JetStream is away. */
export class SessionStore {
  readonly #options: SessionStoreOptions;
  #bucket: KV | null = null;

  constructor(options: SessionStoreOptions) {
    this.#options = options;
  }

  async get(key: string): Promise<StoredSession | null> {
    const entry = await this.#with((bucket) => bucket.get(key));
    if (entry === null || entry.operation !== "PUT") return null;
    const session = readSession(entry.value);
    return typeof session === "string" ? null : { session, sequence: entry.revision };
  }

  /** Writes over the version of this sequence (0: none); null when that isn't the last one. */
  async put(key: string, session: Session, sequence: number): Promise<number | null> {
    const body = toBinary(SessionSchema, session);
    try {
      return await this.#with((bucket) => bucket.put(key, body, { previousSeq: sequence }));
    } catch (thrown) {
      if (thrown instanceof Fault && isWrongSequence(thrown.cause)) return null;
      throw thrown;
    }
  }

  /** Stores what is offered unless what is there holds against it. Returns what is there then. */
  async keep(key: string, offered: Session): Promise<KeptSession> {
    for (let attempt = 0; attempt < CONTENTION_MAX; attempt += 1) {
      const stored = await this.get(key);
      const held = stored === null ? offered : heldVersion(stored.session, offered);
      const left = held === offered ? stored?.session : offered;
      const conflict = left === undefined ? null : conflictOf(held, left);
      if (stored !== null && held === stored.session) return { ...stored, conflict };
      const sequence = await this.put(key, offered, stored?.sequence ?? 0);
      if (sequence !== null) return { session: offered, sequence, conflict };
    }
    throw new Fault("unavailable", "the session is written from everywhere at once", {
      retryAfterMs: RETRY_AFTER_MS,
    });
  }

  /** The keys of all sessions, deleted ones included as long as they are remembered. */
  async keys(): Promise<readonly string[]> {
    const keys: string[] = [];
    const iterator = await this.#with((bucket) => bucket.keys());
    for await (const key of iterator) keys.push(key);
    return keys;
  }

  async #with<T>(use: (bucket: KV) => Promise<T>): Promise<T> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = this.#options.clock.after(STORE_TIMEOUT_MS, () => {
      reject(new Error(`no answer in ${STORE_TIMEOUT_MS} ms`));
    });
    try {
      return await Promise.race([this.#open().then(use), late]);
    } catch (thrown) {
      // Opened anew next time: its server may have come back without its data.
      if (!isWrongSequence(thrown)) this.#bucket = null;
      throw away(thrown);
    } finally {
      timer.cancel();
    }
  }

  async #open(): Promise<KV> {
    const { nats, domain } = this.#options;
    this.#bucket ??= await nats.kv(domain, SESSIONS_BUCKET, {
      history: 1,
      ttl: SESSION_TTL_MS,
      max_bytes: BUCKET_BYTES_MAX,
      maxValueSize: SESSION_BYTES_MAX,
    });
    return this.#bucket;
  }
}

function isWrongSequence(thrown: unknown): boolean {
  return thrown instanceof JetStreamApiError && thrown.code === WRONG_LAST_SEQUENCE;
}

function away(thrown: unknown): Fault {
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new Fault("unavailable", `the region's store of sessions: ${message}`, {
    retryAfterMs: RETRY_AFTER_MS,
    cause: thrown,
  });
}
