// One long-lived stream of a trunk, with its own connection: it connects, pings, notices silence,
// and reconnects with growing jittered pauses until it is closed.
import type { Client, ClientDuplexStream } from "@grpc/grpc-js";
import { asFault, Fault, isFaultCode } from "../../proto/fault.ts";
import type { GenerateRequest } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import {
  type Failure,
  type OpenRequest,
  type OpenResponse,
  Trunk as TrunkDesc,
} from "../../proto/gen/isthmus/v1/trunk_pb.ts";
import type { Clock, Timer } from "../clock.ts";
import { createClient } from "../grpc/bridge.ts";
import { openChannel } from "../grpc/channel.ts";
import { statusToFault } from "../grpc/status.ts";
import type { CallContext, OnEvent } from "../inference/backend.ts";
import type { Answer } from "../inference/inquiry.ts";
import type { Random } from "../random.ts";
import {
  IN_FLIGHT_MAX,
  PING_TICKS,
  RECONNECT_MAX_MS,
  RECONNECT_MIN_MS,
  RTT_WEIGHT,
  SILENT_TICKS_MAX,
  TICK_MS,
} from "./bounds.ts";
import { answerOf } from "./standing.ts";
import { submission } from "./submission.ts";
import type { TrunkState } from "./trunk.ts";

export interface TrunkHello {
  /** Name of this process, for the peer's log. */
  readonly peer: string;
  readonly role: string;
  readonly region: string;
}

export interface TrunkLaneOptions {
  readonly address: string;
  readonly hello: TrunkHello;
  readonly clock: Clock;
  /** Uniform in [0, 1); jitters the pauses between attempts. */
  readonly random: Random;
  readonly onState: (state: TrunkState, why: string) => void;
}

interface InFlight {
  readonly onEvent: OnEvent;
  readonly resolve: () => void;
  readonly reject: (fault: Fault) => void;
  readonly signal: AbortSignal;
  readonly onAbort: () => void;
  /** Waits for the peer to say how the completion stands. */
  asked: PromiseWithResolvers<Answer> | null;
}

/** In-band pings decide first; the transport's keepalive is there for a peer gone below us. */
const laneKeepalive = { timeMs: 1000, timeoutMs: 1500 };

export class TrunkLane {
  state: TrunkState = "connecting";
  rttMs = 0;
  silentTicks = 0;
  readonly #options: TrunkLaneOptions;
  readonly #inFlight = new Map<number, InFlight>();
  #nextId = 1;
  #channel: Client | null = null;
  #call: ClientDuplexStream<OpenRequest, OpenResponse> | null = null;
  #life = new AbortController();
  #tick: Timer | null = null;
  #retry: Timer | null = null;
  #failures = 0;
  #ticks = 0;
  #pings = 0;
  /** Of the ping that waits for its answer; 0 when none does. */
  #pingNonce = 0;
  #pingSentMs = 0;
  #closed = false;

  constructor(options: TrunkLaneOptions) {
    this.#options = options;
    this.#connect();
  }

  get inFlight(): number {
    return this.#inFlight.size;
  }

  /** The connection, for unary calls beside the stream; the signal fires when it is lost. */
  get link(): { readonly channel: Client; readonly lost: AbortSignal } | null {
    if (this.state !== "up" || this.#channel === null) return null;
    return { channel: this.#channel, lost: this.#life.signal };
  }

  generate(request: GenerateRequest, context: CallContext, onEvent: OnEvent): Promise<void> {
    if (this.#inFlight.size >= IN_FLIGHT_MAX) {
      const full = new Fault("overloaded", "too many requests on one trunk", {
        retryAfterMs: 1000,
      });
      return Promise.reject(full);
    }
    return new Promise((resolve, reject) => {
      const id = this.#freeId();
      const { signal } = context;
      const onAbort = () => {
        // A relay that gives its source up says what for: that counts against the peer.
        const why = signal.reason instanceof Fault ? signal.reason : cancelled();
        this.#abandon(id, why);
      };
      this.#inFlight.set(id, { onEvent, resolve, reject, signal, onAbort, asked: null });
      signal.addEventListener("abort", onAbort, { once: true });
      this.#write({ case: "submit", value: submission(id, request, context) });
      context.inquiry?.answeredBy(() => this.#ask(id));
    });
  }

  close(): void {
    this.#closed = true;
    this.#retry?.cancel();
    this.#disconnect(lost("the trunk was closed"));
  }

  #connect(): void {
    const channel = openChannel(this.#options.address, laneKeepalive);
    const call = createClient(TrunkDesc, channel).open();
    this.#channel = channel;
    this.#call = call;
    this.#life = new AbortController();
    this.silentTicks = 0;
    this.#ticks = 0;
    call.on("data", (response: OpenResponse) => this.#onData(call, response));
    call.on("error", (error) => this.#onLost(call, statusToFault(error).message));
    call.on("end", () => this.#onLost(call, "the peer ended the trunk"));
    this.#tick = this.#options.clock.every(TICK_MS, () => this.#onTick(call));
    this.#write({
      case: "hello",
      value: { $typeName: "isthmus.v1.Hello", ...this.#options.hello },
    });
    this.#ping();
  }

  #onTick(call: ClientDuplexStream<OpenRequest, OpenResponse>): void {
    if (call !== this.#call) return;
    this.silentTicks += 1;
    if (this.silentTicks > SILENT_TICKS_MAX) {
      this.#onLost(call, `the peer said nothing for ${SILENT_TICKS_MAX * TICK_MS} ms`);
      return;
    }
    this.#ticks += 1;
    if (this.#ticks % PING_TICKS === 0) this.#ping();
  }

  #ping(): void {
    // A ping still unanswered keeps its nonce and start, so that a slow answer counts in full.
    if (this.#pingNonce === 0) {
      this.#pings += 1;
      this.#pingNonce = this.#pings;
      this.#pingSentMs = this.#options.clock.monotonicMs();
    }
    this.#write({ case: "ping", value: { $typeName: "isthmus.v1.Ping", nonce: this.#pingNonce } });
  }

  #onData(call: ClientDuplexStream<OpenRequest, OpenResponse>, response: OpenResponse): void {
    if (call !== this.#call) return;
    this.silentTicks = 0;
    if (response.pong !== undefined) this.#onPong(response.pong.nonce);
    for (const { id, outcome } of response.items) {
      const flight = this.#inFlight.get(id);
      if (flight === undefined) continue; // cancelled meanwhile
      if (outcome.case === "event") {
        const over = outcome.value.event.case === "finished";
        if (over) this.#forget(id, flight);
        try {
          flight.onEvent(outcome.value);
        } catch (thrown) {
          if (!over) this.#abandon(id, asFault(thrown));
        }
        if (over) flight.resolve();
      } else if (outcome.case === "failure") {
        this.#forget(id, flight);
        flight.reject(faultOf(outcome.value));
      } else if (outcome.case === "standing") {
        flight.asked?.resolve(answerOf(outcome.value));
        flight.asked = null;
      }
    }
  }

  #onPong(nonce: number): void {
    const answered = nonce === this.#pingNonce;
    if (answered) this.#pingNonce = 0;
    if (this.state === "up") {
      if (answered) this.#sampleRtt(this.#options.clock.monotonicMs() - this.#pingSentMs);
      return;
    }
    // The first ping waited for the connection, and so measures something else.
    this.#failures = 0;
    this.#ping();
    this.#become("up", "the peer answers");
  }

  #sampleRtt(sampleMs: number): void {
    const weight = sampleMs > this.rttMs ? RTT_WEIGHT.longer : RTT_WEIGHT.shorter;
    this.rttMs = this.rttMs === 0 ? sampleMs : this.rttMs + weight * (sampleMs - this.rttMs);
  }

  #onLost(call: ClientDuplexStream<OpenRequest, OpenResponse>, why: string): void {
    if (call !== this.#call) return;
    this.#disconnect(lost(why));
    this.#become("down", why);
    if (this.#closed) return;
    const ceiling = Math.min(RECONNECT_MIN_MS * 2 ** this.#failures, RECONNECT_MAX_MS);
    this.#failures += 1;
    const pauseMs = ceiling * (0.5 + this.#options.random() / 2);
    this.#retry = this.#options.clock.after(pauseMs, () => this.#connect());
  }

  /** Ends the connection: a frozen peer would keep it half alive. The next attempt has its own. */
  #disconnect(fault: Fault): void {
    const call = this.#call;
    this.#call = null;
    this.#tick?.cancel();
    this.#pingNonce = 0;
    call?.cancel();
    this.#channel?.close();
    this.#life.abort();
    for (const [id, flight] of [...this.#inFlight]) {
      this.#forget(id, flight);
      flight.reject(fault);
    }
  }

  #become(state: TrunkState, why: string): void {
    if (this.state === state) return;
    this.state = state;
    this.#options.onState(state, why);
  }

  /** Null once the completion is over; whoever asks bounds the wait. */
  #ask(id: number): Answer | Promise<Answer> {
    const flight = this.#inFlight.get(id);
    if (flight === undefined) return null;
    flight.asked ??= Promise.withResolvers<Answer>();
    this.#write({ case: "ask", value: { $typeName: "isthmus.v1.Ask", id } });
    return flight.asked.promise;
  }

  /** Gives up a request that the peer still works on. */
  #abandon(id: number, fault: Fault): void {
    const flight = this.#inFlight.get(id);
    if (flight === undefined) return;
    this.#forget(id, flight);
    this.#write({ case: "cancel", value: { $typeName: "isthmus.v1.Cancel", id } });
    flight.reject(fault);
  }

  #forget(id: number, flight: InFlight): void {
    this.#inFlight.delete(id);
    flight.asked?.resolve(null);
    flight.signal.removeEventListener("abort", flight.onAbort);
  }

  #freeId(): number {
    while (this.#inFlight.has(this.#nextId)) this.#advanceId();
    const id = this.#nextId;
    this.#advanceId();
    return id;
  }

  #advanceId(): void {
    this.#nextId = this.#nextId >= 0xffffffff ? 1 : this.#nextId + 1;
  }

  /** Requests are few and small beside what comes back; they are bounded by IN_FLIGHT_MAX. */
  #write(message: OpenRequest["message"]): void {
    this.#call?.write({ $typeName: "isthmus.v1.OpenRequest", message });
  }
}

function faultOf({ code, message, retryAfterMs, param }: Failure): Fault {
  const known = isFaultCode(code) ? code : "internal";
  return new Fault(known, message, { retryAfterMs, param });
}

function cancelled(): Fault {
  return new Fault("cancelled", "the caller no longer waits for the answer");
}

function lost(why: string): Fault {
  return new Fault("link-lost", why, { stage: "interrupted" });
}
