// A trunk of the simulated mesh: completions of one process carried to another over a path, with
// the periods and limits of the real one (runtime/trunk/bounds.ts). It pings without events: only a
// path or a peer that is not well is looked at.
import { Fault } from "../../../proto/fault.ts";
import type {
  GenerateRequest,
  GenerateResponse,
} from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import type { CallContext, OnEvent } from "../../../runtime/inference/backend.ts";
import { type Answer, Inquiry } from "../../../runtime/inference/inquiry.ts";
import type { Random } from "../../../runtime/random.ts";
import {
  CLIENT_SILENT_TICKS_MAX,
  CLIENT_TICK_MS,
  PING_TICKS,
  RECONNECT_MAX_MS,
  RECONNECT_MIN_MS,
  SILENT_TICKS_MAX,
  TICK_MS,
} from "../../../runtime/trunk/bounds.ts";
import type { TrunkState } from "../../../runtime/trunk/trunk.ts";
import type { EventQueue } from "../kernel/event-queue.ts";
import { Direction, type SimPath } from "./sim-path.ts";
import type { SimProcess } from "./sim-process.ts";
import type { ServedCall, SimService } from "./sim-service.ts";

interface OpenCall {
  readonly id: number;
  readonly onEvent: OnEvent;
  readonly settle: (fault: Fault | null) => void;
}

/** At the server: what a cancel or a lost connection aborts. */
interface TakenCall {
  readonly abort: AbortController;
  readonly inquiry: Inquiry;
  isOver: boolean;
}

interface Frame {
  readonly id: number;
  readonly event: GenerateResponse | null;
  /** With a null event: how it ended. */
  readonly fault: Fault | null;
}

export interface SimTrunkOptions {
  readonly queue: EventQueue;
  readonly client: SimProcess;
  readonly server: SimService;
  readonly path: SimPath;
  readonly random: Random;
}

export class SimTrunk {
  readonly path: SimPath;
  readonly server: SimService;
  readonly #queue: EventQueue;
  readonly #client: SimProcess;
  readonly #random: Random;
  readonly #open = new Map<number, OpenCall>();
  readonly #taken = new Map<number, TakenCall>();
  #state: TrunkState = "connecting";
  /** Counts connections: frames of an earlier one are nothing to this one. */
  #connection = 0;
  #serverLife = 0;
  #lastHeardMs = 0;
  #isWatching = false;
  #isClosed = false;
  #retryMs = RECONNECT_MIN_MS;
  #nextId = 1;
  #batch: Frame[] = [];
  #batchMs = -1;
  /** Told when something is wrong with the path or the peer. */
  onUnwell: () => void = () => {};
  #listeners: ((state: TrunkState) => void)[] = [];

  constructor({ queue, client, server, path, random }: SimTrunkOptions) {
    this.#queue = queue;
    this.#client = client;
    this.server = server;
    this.path = path;
    this.#random = random;
    this.#connect();
  }

  get state(): TrunkState {
    return this.#state;
  }

  get rttMs(): number {
    const { latencyMs, jitterMs } = this.path.quality;
    return 2 * latencyMs + jitterMs;
  }

  get silentMs(): number {
    return this.#isWatching ? this.#queue.nowMs - this.#lastHeardMs : 0;
  }

  /** Nothing is wrong with the path or the peer. */
  get isWell(): boolean {
    const { process } = this.server;
    return this.path.isWhole && process.isRunning && process.life === this.#serverLife;
  }

  get inFlight(): number {
    return this.#open.size;
  }

  onState(listener: (state: TrunkState) => void): void {
    this.#listeners.push(listener);
  }

  generate(request: GenerateRequest, context: CallContext, onEvent: OnEvent): Promise<void> {
    if (this.#state !== "up") return Promise.reject(linkLost("the trunk is not up"));
    if (context.signal.aborted) return Promise.reject(cancelled());
    const id = this.#nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort = () => {
      this.#send(() => this.#abortTaken(id));
      settle(cancelled());
    };
    const settle = (fault: Fault | null) => {
      if (!this.#open.delete(id)) return;
      context.signal.removeEventListener("abort", onAbort);
      this.#queue.hasPromises = true;
      if (fault === null) resolve();
      else reject(fault);
    };
    this.#open.set(id, { id, onEvent, settle });
    context.signal.addEventListener("abort", onAbort);
    context.inquiry?.answeredBy(() => this.#ask(id));
    this.#send(() => this.#take(id, request, context));
    return promise;
  }

  /** Call whenever the path or either process has changed how it is. */
  check(): void {
    if (this.#isClosed) return;
    if (this.#state === "up" && this.#serverLife !== this.server.process.life) {
      this.#abortAllTaken();
      // The peer's kernel answers for the dead process, as far as the path lets it.
      if (this.path.isOpen(Direction.back)) {
        this.#queue.after(this.path.quality.latencyMs, () => this.#lost("the peer has ended"));
      }
    }
    if (this.isWell || this.#isWatching || this.#state !== "up") return;
    this.#isWatching = true;
    this.onUnwell();
    // The last answered ping was up to one period ago.
    this.#lastHeardMs = this.#queue.nowMs - this.#random() * PING_TICKS * TICK_MS;
    this.#watch(this.#connection);
    this.#expireAtServer(this.#connection);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#lost("the trunk is closed");
    this.#isClosed = true;
    this.#listeners = [];
  }

  #connect(): void {
    if (this.#isClosed) return;
    const { process } = this.server;
    const isThere = this.path.isWhole && process.isRunning && this.#client.isRunning;
    if (!isThere) {
      const pauseMs = this.#retryMs * (0.5 + this.#random());
      this.#retryMs = Math.min(this.#retryMs * 2, RECONNECT_MAX_MS);
      this.#queue.after(pauseMs, () => this.#connect());
      return;
    }
    this.#retryMs = RECONNECT_MIN_MS;
    this.#queue.after(this.rttMs, () => {
      if (this.#isClosed) return;
      if (!this.path.isWhole || !process.isRunning) {
        this.#connect();
        return;
      }
      this.#serverLife = process.life;
      this.#setState("up");
    });
  }

  /** Ticks while something is wrong, as the real one always does. */
  #watch(connection: number): void {
    this.#queue.after(TICK_MS, () => {
      if (connection !== this.#connection || !this.#isWatching) return;
      if (this.isWell) {
        this.#isWatching = false;
        return;
      }
      if (this.silentMs >= SILENT_TICKS_MAX * TICK_MS) this.#lost("the peer is silent");
      else this.#watch(connection);
    });
  }

  /** A server that hears nothing from its client gives up its work in the end. */
  #expireAtServer(connection: number): void {
    this.#queue.after(CLIENT_TICK_MS * CLIENT_SILENT_TICKS_MAX, () => {
      if (connection !== this.#connection || this.isWell) return;
      this.server.process.run(() => this.#abortAllTaken());
    });
  }

  #lost(reason: string): void {
    if (this.#state === "down" || this.#isClosed) return;
    this.#connection += 1;
    this.#isWatching = false;
    this.path.dropHeld();
    this.#batchMs = -1;
    // The other end learns of it from its own socket, or at the latest by silence.
    const delayMs = this.path.isOpen(Direction.forth)
      ? this.path.quality.latencyMs
      : CLIENT_TICK_MS * CLIENT_SILENT_TICKS_MAX;
    const taken = [...this.#taken.keys()];
    this.#queue.after(delayMs, () =>
      this.server.process.run(() => {
        for (const id of taken) this.#abortTaken(id);
      }),
    );
    for (const { settle } of [...this.#open.values()]) settle(linkLost(reason));
    this.#setState("down");
    this.#queue.after(RECONNECT_MIN_MS, () => this.#connect());
  }

  #setState(state: TrunkState): void {
    this.#state = state;
    for (const listener of [...this.#listeners]) {
      this.#client.run(() => listener(state));
    }
  }

  #send(arrive: () => void): void {
    const connection = this.#connection;
    this.path.send(Direction.forth, () => {
      this.server.process.run(() => {
        if (connection === this.#connection) arrive();
      });
    });
  }

  #take(id: number, request: GenerateRequest, context: CallContext): void {
    const connection = this.#connection;
    const abort = new AbortController();
    const inquiry = new Inquiry();
    const taken: TakenCall = { abort, inquiry, isOver: false };
    this.#taken.set(id, taken);
    const say = (event: GenerateResponse | null, fault: Fault | null) => {
      if (!taken.isOver && connection === this.#connection) this.#reply({ id, event, fault });
    };
    const call: ServedCall = {
      request,
      context: { ...context, signal: abort.signal, inquiry },
      emit: (event) => say(event, null),
      end: (fault) => {
        say(null, fault);
        taken.isOver = true;
        this.#taken.delete(id);
      },
    };
    this.server.serve(call);
  }

  /** How a completion stands, as the server says; never, when the question or answer is lost. */
  #ask(id: number): Promise<Answer> {
    const connection = this.#connection;
    const { promise, resolve } = Promise.withResolvers<Answer>();
    const answer = (standing: Answer) =>
      this.path.send(Direction.back, () =>
        this.#client.run(() => {
          if (connection !== this.#connection) return;
          this.#queue.hasPromises = true;
          resolve(standing);
        }),
      );
    this.#send(() => {
      const taken = this.#taken.get(id);
      if (taken === undefined) answer(null);
      else void taken.inquiry.ask().then(answer);
      this.#queue.hasPromises = true;
    });
    return promise;
  }

  /** All that the server says at one time travels together. */
  #reply(frame: Frame): void {
    if (this.#batchMs === this.#queue.nowMs) {
      this.#batch.push(frame);
      return;
    }
    const batch = [frame];
    const connection = this.#connection;
    this.#batch = batch;
    this.#batchMs = this.#queue.nowMs;
    this.path.send(Direction.back, () => {
      this.#client.run(() => {
        if (connection === this.#connection) this.#deliver(batch);
      });
    });
  }

  #deliver(batch: readonly Frame[]): void {
    this.#lastHeardMs = this.#queue.nowMs;
    for (const { id, event, fault } of batch) {
      const call = this.#open.get(id);
      if (call === undefined) continue;
      if (event === null) call.settle(fault);
      else {
        if (event.event.case === "finished") this.#queue.hasPromises = true;
        call.onEvent(event);
      }
    }
  }

  #abortTaken(id: number): void {
    const taken = this.#taken.get(id);
    if (taken === undefined) return;
    taken.isOver = true;
    this.#taken.delete(id);
    this.#queue.hasPromises = true;
    taken.abort.abort();
  }

  #abortAllTaken(): void {
    for (const id of [...this.#taken.keys()]) this.#abortTaken(id);
  }
}

function linkLost(reason: string): Fault {
  return new Fault("link-lost", reason, { stage: "interrupted" });
}

function cancelled(): Fault {
  return new Fault("cancelled", "the caller is gone");
}
