// The sessions of a region: the backend that gives them context, kept in the region's own store and
// told to the other regions.
import type { Hono } from "hono";
import type { RegionId } from "../../proto/ids.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { InferenceBackend } from "../../runtime/inference/backend.ts";
import type { Log } from "../../runtime/log.ts";
import type { Metrics } from "../../runtime/metrics.ts";
import type { NatsLink } from "../../runtime/nats/connection.ts";
import type { PolicyBook } from "../../runtime/policy/policy-defaults.ts";
import { sessionBackend } from "./session-backend.ts";
import { SessionExchange, type SessionPeer } from "./session-exchange.ts";
import { SessionKeeper } from "./session-keeper.ts";
import { sessionRoutes } from "./session-routes.ts";
import { SessionStore } from "./session-store.ts";

export interface SessionsOptions {
  readonly region: RegionId;
  readonly jurisdictions: readonly string[];
  /** JetStream domain of the region. */
  readonly domain: string;
  readonly nats: Pick<NatsLink, "kv" | "request" | "subscribe">;
  /** What serves a request once it has its context. */
  readonly backend: InferenceBackend;
  readonly policies?: PolicyBook;
  readonly peers: () => Iterable<SessionPeer>;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

export interface Sessions {
  readonly backend: InferenceBackend;
  readonly routes: Hono;
  /** Another process of this region is gone: what it had still to tell is told by this one. */
  oweAll(): void;
  stop(): void;
}

export function createSessions(options: SessionsOptions): Sessions {
  const { region, jurisdictions, domain, nats, peers, clock, log, metrics } = options;
  const conflicts = metrics.counter({
    name: "isthmus_session_conflicts_total",
    help: "Versions of sessions that gave way to another one, which doesn't hold what they held.",
    labels: ["kind"],
  });
  const turns = metrics.counter({
    name: "isthmus_session_turns_total",
    help: "Turns of sessions that were taken here.",
    labels: ["outcome"],
  });
  const store = new SessionStore({ nats, domain, clock });
  const onConflict = (kind: string) => {
    conflicts.inc({ kind });
    log.warn({ kind }, "two regions went on with the same session");
  };
  const exchange = new SessionExchange({
    ...{ region, jurisdictions, nats, store, peers, clock, log, onConflict },
  });
  const keeper = new SessionKeeper({ region, store, exchange, clock, log });
  const { backend: inner, policies } = options;
  const onTurn = (outcome: string) => turns.inc({ outcome });
  return {
    backend: sessionBackend({ region, jurisdictions, backend: inner, keeper, policies, onTurn }),
    routes: sessionRoutes(keeper),
    oweAll: () => exchange.oweAll(),
    stop: () => exchange.stop(),
  };
}
