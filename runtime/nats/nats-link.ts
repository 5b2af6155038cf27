// What a role sees of NATS: the link's surface, free of how it is kept up.
import type { JetStreamClient, JetStreamManager } from "@nats-io/jetstream";
import type { KV, KvOptions } from "@nats-io/kv";
import type { Clock } from "../clock.ts";

export type LinkState = "connecting" | "up" | "down" | "closed";

export interface NatsOptions {
  /** Tried in this order at first; the rest are where the link moves when a server dies. */
  readonly servers: readonly string[];
  /** Shown by the servers' monitoring, `edge us-1`. */
  readonly name: string;
  readonly clock?: Clock;
  /** Told of every change of state, with the server or the error behind it. */
  readonly onState?: (state: LinkState, detail: string) => void;
  /** Told of errors that change no state: a handler that threw, a refused subscription. */
  readonly onError?: (error: Error) => void;
}

export interface SubscribeOptions {
  /** Members of a group share its messages. */
  readonly queue?: string;
}

/** What a handler gets. `respond` is present when the sender waits for an answer. */
export interface Received {
  readonly subject: string;
  readonly body: Uint8Array;
  readonly respond: ((body: Uint8Array) => void) | undefined;
}

export type ReceivedHandler = (message: Received) => void | Promise<void>;

export interface NatsLink extends AsyncDisposable {
  readonly state: LinkState;
  /** Resolves once the link is up for the first time; rejects when it closes before. */
  readonly connected: Promise<void>;
  /** Sends and forgets. Returns false, and drops the message, while the link isn't up. */
  publish(subject: string, body: Uint8Array): boolean;
  /** Sends and waits. Faults: unavailable (nobody listens), link-lost (no answer in time). */
  request(subject: string, body: Uint8Array, timeoutMs: number): Promise<Uint8Array>;
  /** Handles messages from now, or from the first connection, until `stop`. */
  subscribe(subject: string, handle: ReceivedHandler, options?: SubscribeOptions): { stop(): void };
  /** Resolves once the server has processed what was sent before. */
  flush(): Promise<void>;
  jetstream(domain: string): Promise<JetStreamClient>;
  jetstreamManager(domain: string): Promise<JetStreamManager>;
  /** Opens a bucket in a domain, made with these options when it is absent. */
  kv(domain: string, bucket: string, options?: Partial<KvOptions>): Promise<KV>;
  close(): Promise<void>;
}
