// A role's link to NATS: reconnects for ever, notices a frozen server within two seconds, gives
// every request its own timeout, and never keeps a process from starting because NATS is down.
import {
  type JetStreamClient,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
} from "@nats-io/jetstream";
import { type KV, Kvm, type KvOptions } from "@nats-io/kv";
import { connect, type Msg, type NatsConnection, type Subscription } from "nats";
import { asFault, Fault } from "../../proto/fault.ts";
import { type Clock, systemClock } from "../clock.ts";
import { natsFault } from "./nats-fault.ts";
import type {
  LinkState,
  NatsLink,
  NatsOptions,
  ReceivedHandler,
  SubscribeOptions,
} from "./nats-link.ts";

export type {
  LinkState,
  NatsLink,
  NatsOptions,
  Received,
  ReceivedHandler,
  SubscribeOptions,
} from "./nats-link.ts";

/** Measured: two of these unanswered, and a frozen server is left for the next one. */
const PING_INTERVAL_MS = 500;
const PINGS_UNANSWERED_MAX = 2;
const RECONNECT_WAIT_MS = 100;
const RECONNECT_JITTER_MS = 200;
const HANDSHAKE_MAX_MS = 1_000;
const FIRST_CONNECT_PAUSE_MS = 250;
/** JetStream and KV calls, which touch a disk and may cross regions. */
const JETSTREAM_REQUEST_MAX_MS = 5_000;
/** Messages that wait in one subscription for its handler before they are dropped. */
const SUBSCRIPTION_PENDING_MAX = 65_536;

interface Registration {
  readonly subject: string;
  readonly handle: ReceivedHandler;
  readonly options: SubscribeOptions;
  subscription: Subscription | undefined;
}

/** Opens a link at once, usable before NATS answers: see `connected`. */
export function openNats(options: NatsOptions): NatsLink {
  return new Link(options);
}

/** Opens a link and waits until it is up. Faults: unavailable after `timeoutMs`. */
export async function connectNats(
  options: NatsOptions & { readonly timeoutMs?: number },
): Promise<NatsLink> {
  const link = openNats(options);
  const timeoutMs = options.timeoutMs ?? 15_000;
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = (options.clock ?? systemClock).after(timeoutMs, () => {
    reject(new Fault("unavailable", `NATS (${options.servers.join(", ")}) does not answer`));
  });
  try {
    await Promise.race([link.connected, late]);
    return link;
  } catch (error) {
    await link.close();
    throw asFault(error, "unavailable");
  } finally {
    timer.cancel();
  }
}

class Link implements NatsLink {
  state: LinkState = "connecting";
  readonly connected: Promise<void>;
  readonly #options: NatsOptions;
  readonly #registrations = new Set<Registration>();
  readonly #closing = new AbortController();
  readonly #clock: Clock;
  #nc: NatsConnection | undefined;

  constructor(options: NatsOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.connected = this.#connectFirst();
    // Nobody need wait for the first connection; then its failure is told by the state alone.
    this.connected.catch(() => {});
  }

  publish(subject: string, body: Uint8Array): boolean {
    if (this.state !== "up" || this.#nc === undefined) return false;
    this.#nc.publish(subject, body);
    return true;
  }

  async request(subject: string, body: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    try {
      const answer = await this.#live().request(subject, body, { timeout: timeoutMs });
      return answer.data;
    } catch (error) {
      throw natsFault(error, subject);
    }
  }

  subscribe(subject: string, handle: ReceivedHandler, options: SubscribeOptions = {}) {
    const registration: Registration = { subject, handle, options, subscription: undefined };
    this.#registrations.add(registration);
    if (this.#nc !== undefined) this.#attach(this.#nc, registration);
    return {
      stop: () => {
        this.#registrations.delete(registration);
        if (this.state !== "closed") registration.subscription?.unsubscribe();
      },
    };
  }

  async flush(): Promise<void> {
    try {
      await this.#live().flush();
    } catch (error) {
      throw natsFault(error, "flush");
    }
  }

  async jetstream(domain: string): Promise<JetStreamClient> {
    await this.connected;
    // checkAPI asks the server connected to, which may be a core one: the domain answers later.
    const settings = { domain, timeout: JETSTREAM_REQUEST_MAX_MS, checkAPI: false };
    return jetstream(this.#live(), settings);
  }

  async jetstreamManager(domain: string): Promise<JetStreamManager> {
    await this.connected;
    const settings = { domain, timeout: JETSTREAM_REQUEST_MAX_MS, checkAPI: false };
    return jetstreamManager(this.#live(), settings);
  }

  async kv(domain: string, bucket: string, options: Partial<KvOptions> = {}): Promise<KV> {
    const client = await this.jetstream(domain);
    try {
      return await new Kvm(client).create(bucket, options);
    } catch (error) {
      throw natsFault(error, `bucket ${bucket} of domain ${domain}`);
    }
  }

  async close(): Promise<void> {
    if (this.state === "closed") return;
    const nc = this.#nc;
    const wasUp = this.state === "up";
    this.#setState("closed", "closed here");
    this.#closing.abort();
    if (nc === undefined || nc.isClosed()) return;
    // What was published last should still leave; a dead link has nobody to take it.
    if (wasUp)
      await Promise.race([nc.flush().catch(() => {}), pause(this.#clock, HANDSHAKE_MAX_MS)]);
    await nc.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #live(): NatsConnection {
    if (this.#nc === undefined || this.state === "closed") {
      throw new Fault("unavailable", `the NATS link is ${this.state}`);
    }
    return this.#nc;
  }

  async #connectFirst(): Promise<void> {
    let lastError = "";
    while (!this.#closing.signal.aborted) {
      const nc = await this.#tryConnect().catch((error: Error) => {
        if (error.message !== lastError) this.#options.onState?.("connecting", error.message);
        lastError = error.message;
      });
      if (nc === undefined) {
        await pause(this.#clock, FIRST_CONNECT_PAUSE_MS, this.#closing.signal);
      } else if (this.#closing.signal.aborted) {
        await nc.close();
      } else {
        this.#adopt(nc);
        return;
      }
    }
    throw new Fault("unavailable", "the NATS link was closed before it was up");
  }

  #tryConnect(): Promise<NatsConnection> {
    return connect({
      servers: [...this.#options.servers],
      name: this.#options.name,
      noRandomize: true,
      // Gossip would add the other regions' servers; the configuration names those to use.
      ignoreClusterUpdates: true,
      timeout: HANDSHAKE_MAX_MS,
      pingInterval: PING_INTERVAL_MS,
      maxPingOut: PINGS_UNANSWERED_MAX,
      maxReconnectAttempts: -1,
      reconnectTimeWait: RECONNECT_WAIT_MS,
      reconnectJitter: RECONNECT_JITTER_MS,
      ignoreAuthErrorAbort: true,
      noAsyncTraces: true,
    });
  }

  #adopt(nc: NatsConnection): void {
    this.#nc = nc;
    for (const registration of this.#registrations) this.#attach(nc, registration);
    this.#setState("up", nc.getServer());
    void this.#followStatus(nc);
    void nc.closed().then((error) => {
      this.#setState("closed", error instanceof Error ? error.message : "closed by the client");
    });
  }

  async #followStatus(nc: NatsConnection): Promise<void> {
    for await (const status of nc.status()) {
      if (status.type === "disconnect") this.#setState("down", status.server);
      else if (status.type === "reconnect") this.#setState("up", status.server);
      else if (status.type === "staleConnection") this.#setState("down", "the server is silent");
      else if (status.type === "error") this.#options.onError?.(status.error);
      else if (status.type === "slowConsumer") {
        this.#options.onError?.(new Error(`slow handler of ${status.sub.getSubject()}`));
      }
    }
  }

  #setState(state: LinkState, detail: string): void {
    if (this.state === "closed" || this.state === state) return;
    this.state = state;
    this.#options.onState?.(state, detail);
  }

  #attach(nc: NatsConnection, registration: Registration): void {
    const { subject, handle, options } = registration;
    registration.subscription = nc.subscribe(subject, {
      ...(options.queue === undefined ? {} : { queue: options.queue }),
      slow: SUBSCRIPTION_PENDING_MAX,
      callback: (error, message) => {
        if (error !== null) this.#options.onError?.(error);
        else void this.#deliver(handle, message);
      },
    });
  }

  async #deliver(handle: ReceivedHandler, message: Msg): Promise<void> {
    try {
      await handle({
        subject: message.subject,
        body: message.data,
        respond: message.reply ? (body) => void message.respond(body) : undefined,
      });
    } catch (error) {
      this.#options.onError?.(asFault(error));
    }
  }
}

/** Waits, or returns at once when the signal fires. */
function pause(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = clock.after(ms, done);
  signal?.addEventListener("abort", done, { once: true });
  function done(): void {
    timer.cancel();
    signal?.removeEventListener("abort", done);
    resolve();
  }
  return promise;
}
