// Has a session's conversation at hand when a turn begins, and keeps the turn when it ends.
//
// A turn is kept once this region's store has it or, with that away, another region's that may keep
// it; and every region in reach has been told before the caller hears that the turn is finished.
import { create, toBinary } from "@bufbuild/protobuf";
import { Fault } from "../../proto/fault.ts";
import type { ChatMessage } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { type Session, SessionSchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { RegionId } from "../../proto/ids.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import { beginsWith } from "./conversation.ts";
import type { SessionExchange } from "./session-exchange.ts";
import { SESSION_BYTES_MAX, type SessionName, sessionKey } from "./session-rules.ts";
import type { SessionStore, StoredSession } from "./session-store.ts";
import { heldVersion, isSameConversation } from "./session-version.ts";

const RETRY_AFTER_MS = 1000;
/** Times that a turn is put after others which were kept while it ran. */
const REBASES_MAX = 4;

export interface SessionKeeperOptions {
  readonly region: RegionId;
  readonly store: SessionStore;
  readonly exchange: SessionExchange;
  readonly clock: Clock;
  readonly log: Log;
}

/** What is known of a session when a turn begins. */
export interface LoadedSession {
  /** Null for a session that begins. A deleted one has no messages. */
  readonly session: Session | null;
  /** Of this region's store; null when that is away. */
  readonly sequence: number | null;
}

/** A turn that has come to its end. */
export interface FinishedTurn extends SessionName {
  readonly policy: Session["policy"];
  /** What it was begun from. */
  readonly loaded: LoadedSession;
  /** The whole conversation, up to what was asked. */
  readonly asked: readonly ChatMessage[];
  readonly answer: ChatMessage;
}

export class SessionKeeper {
  readonly #options: SessionKeeperOptions;

  constructor(options: SessionKeeperOptions) {
    this.#options = options;
  }

  /** Faults: `unavailable` when neither the store nor another region knows. */
  async load(name: SessionName, policy: Session["policy"]): Promise<LoadedSession> {
    const { store, exchange, log } = this.#options;
    try {
      const stored = await store.get(sessionKey(name));
      const doubtful = exchange.unsettled(policy);
      if (doubtful.length === 0) return loadedFrom(stored);
      const { newest } = await exchange.ask(name, doubtful);
      if (newest === null) return loadedFrom(stored);
      return loadedFrom(await store.keep(sessionKey(name), newest));
    } catch (thrown) {
      log.warn({ err: thrown }, "the store of sessions is away");
      const { newest } = await exchange.ask(name, exchange.inReach(policy));
      // That the others don't know the session doesn't mean that there is none.
      if (newest !== null) return { session: newest, sequence: null };
      throw new Fault("unavailable", "what the session holds can't be had now", {
        retryAfterMs: RETRY_AFTER_MS,
        param: "session_id",
        cause: thrown,
      });
    }
  }

  /** Faults: `unavailable`, interrupted, when the turn could be kept nowhere. */
  async keep(turn: FinishedTurn): Promise<void> {
    const { exchange } = this.#options;
    const kept = await this.#store(turn);
    const session = kept ?? this.#versionOf(turn, turn.loaded.session);
    if (session.deleted) return;
    const copies = await exchange.tell(session);
    if (kept === null && copies === 0) {
      throw new Fault("unavailable", "the turn could be kept nowhere: take it again", {
        stage: "interrupted",
        retryAfterMs: RETRY_AFTER_MS,
        param: "session_id",
      });
    }
    const before = turn.loaded.session;
    if (before !== null && !before.deleted) await exchange.retract(session, before);
  }

  async find(name: SessionName): Promise<Session | null> {
    const { session } = await this.load(name, undefined);
    return session === null || session.deleted ? null : session;
  }

  /** Forgets a session here, and tells the others to. Returns whether there was one. */
  async forget(name: SessionName): Promise<boolean> {
    const { region, store, exchange, clock } = this.#options;
    const { session } = await this.load(name, undefined);
    if (session === null || session.deleted) return false;
    const { revision, policy } = session;
    const tombstone = create(SessionSchema, {
      ...{ ...name, policy, region, deleted: true, revision: revision + 1n },
      updatedMs: BigInt(clock.now()),
    });
    await store.keep(sessionKey(name), tombstone);
    await exchange.tell(tombstone);
    return true;
  }

  /** The version that is stored; null when the store is away. */
  async #store(turn: FinishedTurn): Promise<Session | null> {
    const { store, log } = this.#options;
    const key = sessionKey(turn);
    let { session: base, sequence } = turn.loaded;
    try {
      for (let attempt = 0; attempt < REBASES_MAX; attempt += 1) {
        const version = this.#versionOf(turn, base);
        if (base !== null && isSameConversation(base, version)) return base;
        if (sequence !== null && (await store.put(key, version, sequence)) !== null) return version;
        // Somebody else's turn, or a deletion, came between: this one goes after it.
        const now = await store.get(key);
        if (now?.session.deleted && now.session.revision !== base?.revision) return now.session;
        base = now === null ? base : base === null ? now.session : heldVersion(now.session, base);
        sequence = now?.sequence ?? 0;
      }
      throw new Fault("conflict", "other turns of the session kept coming", {
        param: "session_id",
      });
    } catch (thrown) {
      if (thrown instanceof Fault && thrown.code !== "unavailable") throw thrown;
      log.warn({ err: thrown }, "a turn can't be stored here");
      return null;
    }
  }

  /** The session with this turn at its end; Faults: payload-too-large. */
  #versionOf({ id, tenant, policy, loaded, asked, answer }: FinishedTurn, base: Session | null) {
    const { region, clock } = this.#options;
    const began = loaded.session?.messages ?? [];
    const others = base?.messages ?? [];
    const isRebased = base !== loaded.session && beginsWith(asked, began);
    const messages = isRebased
      ? [...others, ...asked.slice(began.length), answer]
      : [...asked, answer];
    const version = create(SessionSchema, {
      ...{ id, tenant, policy, region, messages },
      revision: (base?.revision ?? 0n) + 1n,
      updatedMs: BigInt(clock.now()),
    });
    if (toBinary(SessionSchema, version).byteLength <= SESSION_BYTES_MAX) return version;
    const why = `the session would be longer than ${SESSION_BYTES_MAX} bytes: begin a new one`;
    const detail = { stage: "interrupted", param: "session_id" } as const;
    throw new Fault("payload-too-large", why, detail);
  }
}

function loadedFrom(stored: StoredSession | null): LoadedSession {
  return { session: stored?.session ?? null, sequence: stored?.sequence ?? 0 };
}
