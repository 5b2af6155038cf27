// One simulated edge in a pod: it starts, serves so many streams at once and keeps the next ones
// waiting, and ends when it is told to go and its last stream is over. Streams share it as in
// engine-profile.ts: each further one slows all of them a bit.
import type { EventQueue, ScheduledCall } from "../kernel/event-queue.ts";
import { decodeStepMs, type EngineProfile } from "../world/engine-profile.ts";
import type { TrafficRequest } from "./traffic.ts";

export interface PodRequest extends TrafficRequest {
  /** When somebody first asked. */
  readonly askedMs: number;
  readonly onFirstToken: (atMs: number) => void;
  readonly onEnd: () => void;
}

interface Stream {
  readonly request: PodRequest;
  readonly begunMs: number;
  /** Prompt first, in milliseconds; then the tokens still to come. */
  readingMs: number;
  tokens: number;
  hasSpoken: boolean;
}

const NEARLY_NOTHING = 1e-6;
/** Weight of the newest completion in a mean. */
const WEIGHT = 0.1;

export class SimPod {
  readonly orderedMs: number;
  readonly profile: EngineProfile;
  state: "starting" | "ready" | "ending" | "gone" = "starting";
  /** When it ended, for the bill. */
  endedMs = Infinity;
  /** Mean time in a slot of those that ended; 0 before any. */
  serviceMs = 0;
  /** Slots in use summed over time, and time with any in use. */
  slotMs = 0;
  busyMs = 0;
  readonly #queue: EventQueue;
  readonly #streams: Stream[] = [];
  readonly #waiting: PodRequest[] = [];
  #sinceMs: number;
  #next: ScheduledCall | null = null;

  constructor(queue: EventQueue, profile: EngineProfile, startUpMs: number, onReady: () => void) {
    this.#queue = queue;
    this.profile = profile;
    this.orderedMs = queue.nowMs;
    this.#sinceMs = queue.nowMs;
    queue.after(startUpMs, () => {
      if (this.state !== "starting") return;
      this.state = "ready";
      this.#sinceMs = queue.nowMs;
      onReady();
    });
  }

  get active(): number {
    return this.#streams.length;
  }

  get queued(): number {
    return this.#waiting.length;
  }

  get isFull(): boolean {
    return this.queued >= this.profile.queueMax;
  }

  take(request: PodRequest): void {
    this.#pass();
    if (this.#streams.length < this.profile.slots) this.#begin(request);
    else this.#waiting.push(request);
    this.#plan();
  }

  /** Gives back what waits here; the streams end first. */
  end(): readonly PodRequest[] {
    this.#pass();
    this.state = this.state === "starting" ? "gone" : "ending";
    if (this.state === "gone") this.endedMs = this.#queue.nowMs;
    const waiting = this.#waiting.splice(0);
    this.#endIfIdle();
    return waiting;
  }

  /** Counts the time until now. */
  settle(): void {
    this.#pass();
    this.#plan();
  }

  #begin(request: PodRequest): void {
    const readingMs = (request.promptTokens * 1000) / this.profile.prefillTokensPerS;
    const tokens = request.outputTokens;
    const begunMs = this.#queue.nowMs;
    this.#streams.push({ request, begunMs, readingMs, tokens, hasSpoken: false });
  }

  /** Lets the streams work until now. */
  #pass(): void {
    const { nowMs } = this.#queue;
    const passedMs = nowMs - this.#sinceMs;
    this.#sinceMs = nowMs;
    if (passedMs <= 0 || this.#streams.length === 0) return;
    this.slotMs += passedMs * this.#streams.length;
    this.busyMs += passedMs;
    const stepMs = this.#stepMs();
    for (const stream of this.#streams) {
      const readMs = Math.min(stream.readingMs, passedMs);
      stream.readingMs -= readMs;
      stream.tokens -= (passedMs - readMs) / stepMs;
    }
  }

  #stepMs(): number {
    return decodeStepMs(this.profile, Math.max(1, this.#streams.length));
  }

  /** Plans for whatever comes next: a first token, or an end. */
  #plan(): void {
    this.#next?.cancel();
    this.#next = null;
    if (this.#streams.length === 0) return;
    const stepMs = this.#stepMs();
    let soonestMs = Infinity;
    for (const { readingMs, tokens, hasSpoken, request } of this.#streams) {
      const left = hasSpoken ? tokens : tokens - (request.outputTokens - 1);
      soonestMs = Math.min(soonestMs, readingMs + Math.max(0, left) * stepMs);
    }
    this.#next = this.#queue.after(soonestMs + NEARLY_NOTHING, () => this.#happen());
  }

  #happen(): void {
    this.#pass();
    const { nowMs } = this.#queue;
    for (const stream of [...this.#streams]) {
      const { request } = stream;
      if (!stream.hasSpoken && stream.tokens <= request.outputTokens - 1 + NEARLY_NOTHING) {
        stream.hasSpoken = true;
        request.onFirstToken(nowMs);
      }
      if (stream.tokens > NEARLY_NOTHING) continue;
      this.#streams.splice(this.#streams.indexOf(stream), 1);
      request.onEnd();
      const tookMs = nowMs - stream.begunMs;
      this.serviceMs += (this.serviceMs === 0 ? 1 : WEIGHT) * (tookMs - this.serviceMs);
      const next = this.#waiting.shift();
      if (next !== undefined) this.#begin(next);
    }
    this.#endIfIdle();
    this.#plan();
  }

  #endIfIdle(): void {
    if (this.state !== "ending" || this.#streams.length > 0) return;
    this.state = "gone";
    this.endedMs = this.#queue.nowMs;
  }
}
