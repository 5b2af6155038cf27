// Keeps the regions' sessions alike: tells each turn to every region that may keep it, owes it to
// those that are out of reach and tells them as soon as they are back, and takes what it is told.
import { create, toBinary } from "@bufbuild/protobuf";
import { type Session, SessionSchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import { type RegionId, regionId } from "../../proto/ids.ts";
import { subjects } from "../../proto/subjects.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { NatsLink, Received } from "../../runtime/nats/connection.ts";
import { residencyRefusal } from "../../runtime/policy/residency.ts";
import { SessionDebts } from "./session-debts.ts";
import { readSession, type SessionName, sessionKey } from "./session-rules.ts";
import type { SessionStore } from "./session-store.ts";
import { heldVersion, isAsNew, type SessionConflict } from "./session-version.ts";

/** How long the end of a turn waits for the other regions. Later ones are told all the same. */
const TELL_WAIT_MS = 1000;
const ASK_WAIT_MS = 1000;
const RETELL_PERIOD_MS = 500;
/** Sessions under way to one region at once while it catches up. */
const RETELL_PARALLEL = 16;
/** For so long after a region has come into reach it may know more than it has told. */
const SETTLE_MS = 10_000;

/** What a region answers when it is told a session. */
export const SESSION_REPLY = { taken: Uint8Array.of(0), wanted: Uint8Array.of(1) } as const;
const noBytes = new Uint8Array();

/** Another region as sessions see it. */
export interface SessionPeer {
  readonly region: string;
  /** Null when it has never said. */
  readonly jurisdictions: readonly string[] | null;
  /** It has told of itself lately; another one means another process with other debts. */
  readonly incarnation: bigint | null;
  /** A request could go there now as well. */
  readonly connected: boolean;
}

export interface SessionExchangeOptions {
  readonly region: RegionId;
  readonly jurisdictions: readonly string[];
  readonly nats: Pick<NatsLink, "request" | "subscribe">;
  readonly store: SessionStore;
  readonly peers: () => Iterable<SessionPeer>;
  readonly clock: Clock;
  readonly log: Log;
  readonly onConflict: (conflict: SessionConflict) => void;
}

export class SessionExchange {
  readonly #options: SessionExchangeOptions;
  readonly #debts = new SessionDebts();
  readonly #catchingUp = new Set<string>();
  readonly #stops: (() => void)[] = [];

  constructor(options: SessionExchangeOptions) {
    this.#options = options;
    const { nats, region, clock } = options;
    const told = nats.subscribe(subjects.session(region), (message) => this.#hear(message));
    const asked = nats.subscribe(subjects.sessionGet(region), (message) => this.#answer(message));
    const timer = clock.every(RETELL_PERIOD_MS, () => this.#payDebts());
    this.#stops.push(
      () => told.stop(),
      () => asked.stop(),
      () => timer.cancel(),
    );
  }

  /** Takes over what another process of this region owed: everything, for all that is known. */
  oweAll(): void {
    this.#debts.oweAll();
  }

  stop(): void {
    for (const stop of this.#stops) stop();
  }

  /**
   * Tells a version to every region that may keep it. Resolves with how many have stored it, once
   * all in reach have, or after a bounded wait; the others are owed it.
   */
  async tell(session: Session): Promise<number> {
    const key = sessionKey(session);
    const waitedFor = [...this.#options.peers()]
      .filter((peer) => mayKeep(peer, session))
      .map(async (peer) => {
        if (!isInReach(peer)) {
          this.#debts.owe(peer.region, key);
          return false;
        }
        const reply = await this.#send(peer.region, session).catch(() => null);
        if (reply === null) this.#debts.owe(peer.region, key);
        return reply !== null;
      });
    return (await Promise.all(waitedFor)).filter((stored) => stored).length;
  }

  /**
   * Has a session forgotten where it was kept and may not be any more. It names the session, and
   * holds nothing of it; it is later than what is to be forgotten, and older than what goes on.
   */
  async retract(session: Session, before: Session): Promise<void> {
    const { revision } = before;
    const tombstone = create(SessionSchema, { ...session, revision, messages: [], deleted: true });
    const barred = this.inReach(before.policy).filter((peer) => !mayKeep(peer, session));
    await Promise.all(
      barred.map(({ region }) =>
        this.#send(region, tombstone).catch((thrown: unknown) => {
          this.#options.log.warn({ err: thrown, peer: region }, "it keeps a session it should not");
        }),
      ),
    );
  }

  /**
   * The newest version that the given regions have. `answers` says how many of them answered at
   * all: none means that nobody knows.
   */
  async ask(
    name: SessionName,
    from: readonly SessionPeer[],
  ): Promise<{ readonly newest: Session | null; readonly answers: number }> {
    const asking = { ...name, region: this.#options.region, revision: 1n };
    const question = toBinary(SessionSchema, create(SessionSchema, asking));
    const answers = await Promise.all(from.map(({ region }) => this.#askOne(region, question)));
    let newest: Session | null = null;
    for (const session of answers) {
      if (session === null || session === "unknown") continue;
      if (session.id !== name.id || session.tenant !== name.tenant) continue;
      newest = newest === null ? session : heldVersion(newest, session);
    }
    return { newest, answers: answers.filter((answer) => answer !== null).length };
  }

  /** Regions in reach that may keep a session of this policy. */
  inReach(policy: Session["policy"]): SessionPeer[] {
    const peers = [...this.#options.peers()];
    return peers.filter((peer) => isInReach(peer) && mayKeep(peer, { policy }));
  }

  /** Those of them that have come into reach so lately that they may not have told everything. */
  unsettled(policy: Session["policy"]): SessionPeer[] {
    const nowMs = this.#options.clock.monotonicMs();
    return this.inReach(policy).filter(({ region }) => {
      const sinceMs = this.#debts.inReachSinceMs(region);
      return sinceMs === null || nowMs - sinceMs < SETTLE_MS;
    });
  }

  async #askOne(region: string, question: Uint8Array): Promise<Session | "unknown" | null> {
    try {
      const subject = subjects.sessionGet(regionId(region));
      const body = await this.#options.nats.request(subject, question, ASK_WAIT_MS);
      if (body.byteLength === 0) return "unknown";
      const session = readSession(body);
      return typeof session === "string" ? null : session;
    } catch {
      return null; // it will tell by itself once it can
    }
  }

  /** Resolves once the region has stored it, or a newer one; rejects when it doesn't say so. */
  #send(region: string, session: Session): Promise<Uint8Array> {
    const subject = subjects.session(regionId(region));
    const body = toBinary(SessionSchema, session);
    return this.#options.nats.request(subject, body, TELL_WAIT_MS);
  }

  /** Doesn't answer when it can't store: who told it goes on owing it. */
  async #hear({ body, respond }: Received): Promise<void> {
    const { region, jurisdictions, store, log } = this.#options;
    const told = readSession(body);
    if (typeof told === "string") {
      log.warn({ why: told }, "a session was not believed");
      return;
    }
    const refusal = residencyRefusal(told.policy, region, jurisdictions);
    if (refusal !== null && !told.deleted) {
      log.warn({ why: refusal }, "a session was told that may not be kept here");
      respond?.(SESSION_REPLY.taken);
      return;
    }
    const key = sessionKey(told);
    try {
      if (told.messages.length === 0 && !told.deleted) {
        const stored = await store.get(key);
        const known = stored !== null && isAsNew(stored.session, told);
        respond?.(known ? SESSION_REPLY.taken : SESSION_REPLY.wanted);
        return;
      }
      const { conflict } = await store.keep(key, told);
      if (conflict !== null) this.#options.onConflict(conflict);
      respond?.(SESSION_REPLY.taken);
    } catch (thrown) {
      log.debug({ err: thrown }, "a session that was told waits for the store");
    }
  }

  async #answer({ body, respond }: Received): Promise<void> {
    const asked = readSession(body);
    if (typeof asked === "string" || respond === undefined) return;
    try {
      const stored = await this.#options.store.get(sessionKey(asked));
      const isTold = stored !== null && mayKeep(this.#peer(asked.region), stored.session);
      respond(isTold ? toBinary(SessionSchema, stored.session) : noBytes);
    } catch (thrown) {
      this.#options.log.debug({ err: thrown }, "asked for a session while the store is away");
    }
  }

  /** A region that isn't known is under no legal regime, and has its name. */
  #peer(region: string): Pick<SessionPeer, "region" | "jurisdictions"> {
    for (const peer of this.#options.peers()) if (peer.region === region) return peer;
    return { region, jurisdictions: null };
  }

  /** Looks who has come and gone, and tells those in reach what they are owed. */
  #payDebts(): void {
    const nowMs = this.#options.clock.monotonicMs();
    for (const peer of this.#options.peers()) {
      this.#debts.seen(peer.region, isInReach(peer) ? peer.incarnation : null, nowMs);
      if (peer.incarnation === null || this.#catchingUp.has(peer.region)) continue;
      if (!this.#debts.owesAny(peer.region)) continue;
      this.#catchingUp.add(peer.region);
      void this.#catchUp(peer)
        .catch((thrown: unknown) => {
          this.#options.log.debug({ err: thrown, peer: peer.region }, "sessions are still owed");
        })
        .finally(() => this.#catchingUp.delete(peer.region));
    }
  }

  async #catchUp(peer: SessionPeer): Promise<void> {
    const { store } = this.#options;
    if (this.#debts.owesAll(peer.region)) {
      this.#debts.oweThese(peer.region, await store.keys());
    }
    for (;;) {
      const keys = this.#debts.some(peer.region, RETELL_PARALLEL);
      if (keys.length === 0) return;
      await Promise.all(keys.map((key) => this.#retell(peer, key)));
    }
  }

  /** Asks first whether it is wanted: after a restart most of it is known there. */
  async #retell(peer: SessionPeer, key: string): Promise<void> {
    const stored = await this.#options.store.get(key);
    if (stored !== null && mayKeep(peer, stored.session)) {
      const { session } = stored;
      const head = create(SessionSchema, { ...session, messages: [] });
      const reply = await this.#send(peer.region, head);
      if (!session.deleted && reply[0] === SESSION_REPLY.wanted[0]) {
        await this.#send(peer.region, session);
      }
    }
    this.#debts.paid(peer.region, key);
  }
}

function mayKeep(
  peer: Pick<SessionPeer, "region" | "jurisdictions">,
  { policy }: Pick<Session, "policy">,
): boolean {
  return residencyRefusal(policy, peer.region, peer.jurisdictions ?? []) === null;
}

function isInReach({ connected, incarnation }: SessionPeer): boolean {
  return connected && incarnation !== null;
}
