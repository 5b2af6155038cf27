// All pods of one model behind one gateway: sends requests to the least loaded, holds them while
// none is up (by the gateway's own buffer), and counts what became of them.
import { ColdBuffer } from "../../../region/scaling/cold-buffer.ts";
import type { ModelFacts } from "../../../region/scaling/model-facts.ts";
import type { HoldBounds } from "../../../region/scaling/scaling-rules.ts";
import type { Random } from "../../../runtime/random.ts";
import type { EventQueue } from "../kernel/event-queue.ts";
import type { EngineProfile } from "../world/engine-profile.ts";
import { type PodRequest, SimPod } from "./sim-pod.ts";
import type { TrafficRequest } from "./traffic.ts";

export interface FleetOptions {
  readonly queue: EventQueue;
  readonly profile: EngineProfile;
  readonly startUpMs: { readonly min: number; readonly max: number };
  readonly hold: HoldBounds;
  readonly ttftTargetMs: number;
  readonly random: Random;
}

export interface FleetCounts {
  requests: number;
  served: number;
  /** First tokens beyond the target, and requests that got none. */
  missed: number;
  refused: number;
  /** Had to wait for a pod to come up. */
  held: number;
}

/** Weight of the newest start in the mean. */
const WEIGHT = 0.3;
/** Where nothing was measured yet. */
const SERVICE_MS = 5000;
const LOOK_MS = 500;
const MODEL = "m";

export class PodFleet {
  pods: SimPod[] = [];
  /** What those that are gone have cost. */
  #goneMs = 0;
  readonly counts: FleetCounts = { requests: 0, served: 0, missed: 0, refused: 0, held: 0 };
  readonly ttftsMs: number[] = [];
  readonly #options: FleetOptions;
  readonly #buffer: ColdBuffer<PodRequest>;
  #ended = 0;
  #turnedAway = 0;
  #routed = 0;
  #late = 0;
  #serviceMs = SERVICE_MS;
  #startUpMs: number;
  #beganMs = new WeakMap<SimPod, number>();

  constructor(options: FleetOptions) {
    this.#options = options;
    this.#buffer = new ColdBuffer(options.hold);
    this.#startUpMs = options.startUpMs.max;
    const look = () => {
      this.#bury();
      for (const request of this.#buffer.expire(options.queue.nowMs)) this.#refuse(request);
      options.queue.after(LOOK_MS, look);
    };
    look();
  }

  /** Pods that are, or will be, of use. */
  get present(): readonly SimPod[] {
    return this.pods.filter(({ state }) => state === "starting" || state === "ready");
  }

  /** Pod time until now, from each order to its end. */
  get podMs(): number {
    const { nowMs } = this.#options.queue;
    const spent = ({ orderedMs, endedMs }: SimPod) => Math.min(endedMs, nowMs) - orderedMs;
    return this.pods.reduce((sum, pod) => sum + spent(pod), this.#goneMs);
  }

  ask(request: TrafficRequest): void {
    const { queue, ttftTargetMs } = this.#options;
    const askedMs = queue.nowMs;
    this.counts.requests += 1;
    const onFirstToken = (atMs: number) => {
      this.counts.served += 1;
      this.ttftsMs.push(atMs - askedMs);
      if (atMs - askedMs > ttftTargetMs) this.counts.missed += 1;
    };
    const onEnd = () => {
      this.#ended += 1;
    };
    this.#place({ ...request, askedMs, onFirstToken, onEnd });
  }

  /** Starts pods, or ends the newest ones. */
  scaleTo(replicas: number): void {
    const { queue, profile, startUpMs, random } = this.#options;
    const present = this.present;
    for (let count = present.length; count < replicas; count += 1) {
      const takesMs = startUpMs.min + random() * (startUpMs.max - startUpMs.min);
      const pod = new SimPod(queue, profile, takesMs, () => this.#isUp(pod));
      this.#beganMs.set(pod, queue.nowMs);
      this.pods.push(pod);
    }
    const surplus = present.slice(replicas);
    const moved = surplus.flatMap((pod) => pod.end());
    for (const request of moved) this.#place(request);
  }

  facts(): ModelFacts {
    const { profile } = this.#options;
    const ready = this.pods.filter(({ state }) => state === "ready");
    const measured = ready.filter(({ serviceMs }) => serviceMs > 0);
    if (measured.length > 0) {
      const sum = measured.reduce((total, { serviceMs }) => total + serviceMs, 0);
      this.#serviceMs = sum / measured.length;
    }
    return {
      ready: ready.length,
      stored: 0,
      starting: this.present.length - ready.length,
      active: ready.reduce((sum, { active }) => sum + active, 0),
      queued: ready.reduce((sum, { queued }) => sum + queued, 0),
      held: this.#buffer.count(MODEL),
      ended: this.#ended,
      turnedAway: this.#turnedAway,
      routed: this.#routed,
      late: this.#late,
      slotsPerEdge: profile.slots,
      serviceMs: this.#serviceMs,
      idleTtftMs: (150 * 1000) / profile.prefillTokensPerS + profile.stepMs,
      startUpMs: this.#startUpMs,
    };
  }

  #bury(): void {
    for (const { state, endedMs, orderedMs } of this.pods) {
      if (state === "gone") this.#goneMs += endedMs - orderedMs;
    }
    this.pods = this.pods.filter(({ state }) => state !== "gone");
  }

  #isUp(pod: SimPod): void {
    const { queue } = this.#options;
    const tookMs = queue.nowMs - (this.#beganMs.get(pod) ?? queue.nowMs);
    this.#startUpMs += WEIGHT * (tookMs - this.#startUpMs);
    for (;;) {
      const best = this.#best();
      const next = best === null ? null : this.#buffer.take(MODEL);
      if (next === null || best === null) return;
      best.take(next);
    }
  }

  #place(request: PodRequest): void {
    const { queue, hold, ttftTargetMs, profile } = this.#options;
    const best = this.#best();
    if (best !== null) {
      const ahead = Math.max(0, best.active + best.queued + 1 - profile.slots);
      const waitMs = (ahead * this.#serviceMs) / profile.slots;
      const readMs = (request.promptTokens * 1000) / profile.prefillTokensPerS;
      this.#routed += 1;
      if (waitMs + readMs + profile.stepMs > ttftTargetMs) this.#late += 1;
      best.take(request);
      return;
    }
    const isCold = this.pods.every(({ state }) => state !== "ready");
    const untilMs = queue.nowMs + hold.patienceMs;
    const entry = {
      model: MODEL,
      bytes: 1,
      priority: "interactive",
      untilMs,
      held: request,
    } as const;
    if (isCold && this.#buffer.offer(entry) === "held") {
      this.counts.held += 1;
      return;
    }
    this.#refuse(request);
  }

  #refuse(_request: PodRequest): void {
    this.#turnedAway += 1;
    this.counts.refused += 1;
    this.counts.missed += 1;
  }

  #best(): SimPod | null {
    let best: SimPod | null = null;
    for (const pod of this.pods) {
      if (pod.state !== "ready" || pod.isFull) continue;
      const isLess = best === null || pod.active + pod.queued < best.active + best.queued;
      if (isLess) best = pod;
    }
    return best;
  }
}
