// How long it takes until an edge serves a model, as measured in this region: from the first word
// of an edge that brings it up, and from the first request that found none to the first edge.
import { ModelStatus } from "../../proto/gen/isthmus/v1/mesh_pb.ts";

/** Weight of the newest one in the mean. */
const WEIGHT = 0.3;
const EDGES_MAX = 16_384;
const MODELS_MAX = 1024;

/** What comes up later than this after a request was not started for it. */
const WAKE_MAX_MS = 900_000;

/** What is expected, and where that is from. */
export interface StartEstimate {
  readonly ms: number;
  readonly from: "wakes" | "starts" | "loads" | "nothing";
}

/** Where nothing was measured: an edge that is there, with a few gigabytes to fetch and to load. */
export const UNMEASURED_START_MS = 30_000;

interface ModelTimes {
  wakeMs: number | null;
  startMs: number | null;
  loadMs: number | null;
}

export class StartUpTimes {
  readonly #times = new Map<string, ModelTimes>();
  /** When an edge, by its process, was first seen to bring up a model. */
  readonly #pending = new Map<string, number>();
  /** When a request first found no edge with the model. */
  readonly #asleep = new Map<string, number>();

  /** Takes what an edge says of a model now. `process` names the edge and its start. */
  seen(
    process: string,
    model: string,
    { status, loadMs }: { readonly status: ModelStatus; readonly loadMs: number },
    nowMs: number,
  ): void {
    const key = `${process} ${model}`;
    const isComing = status === ModelStatus.FETCHING || status === ModelStatus.LOADING;
    if (isComing) {
      if (this.#pending.size < EDGES_MAX && !this.#pending.has(key)) this.#pending.set(key, nowMs);
      return;
    }
    const since = this.#pending.get(key);
    this.#pending.delete(key);
    if (status !== ModelStatus.READY) return;
    const times = this.#of(model);
    if (loadMs > 0) times.loadMs = loadMs;
    if (since !== undefined) times.startMs = mean(times.startMs, nowMs - since);
    const asleep = this.#asleep.get(model);
    if (asleep === undefined) return;
    this.#asleep.delete(model);
    if (nowMs - asleep <= WAKE_MAX_MS) times.wakeMs = mean(times.wakeMs, nowMs - asleep);
  }

  /** All but these processes have gone. */
  keepOnly(processes: readonly string[]): void {
    const there = new Set(processes);
    for (const key of this.#pending.keys()) {
      if (!there.has(key.slice(0, key.indexOf(" ")))) this.#pending.delete(key);
    }
  }

  /** A request found no edge that serves the model. */
  missed(model: string, nowMs: number): void {
    if (this.#asleep.size < MODELS_MAX && !this.#asleep.has(model)) this.#asleep.set(model, nowMs);
  }

  /** From asking for an edge to its first answer, or the best that is known of that. */
  estimate(model: string): StartEstimate {
    const { wakeMs, startMs, loadMs } = this.#times.get(model) ?? nothingMeasured;
    if (wakeMs !== null) return { ms: wakeMs, from: "wakes" };
    if (startMs !== null) return { ms: startMs, from: "starts" };
    if (loadMs !== null) return { ms: loadMs, from: "loads" };
    return { ms: UNMEASURED_START_MS, from: "nothing" };
  }

  /**
   * How long it should still take. An edge that is on its way tells best; what takes longer than
   * it ever did is expected to take a tenth of that more, again and again.
   */
  remainingMs(model: string, nowMs: number): number {
    const { startMs, loadMs } = this.#times.get(model) ?? nothingMeasured;
    const begun = this.#begunMs(model);
    const onItsWay = begun === null ? null : (startMs ?? loadMs);
    const { ms } = this.estimate(model);
    const [wholeMs, sinceMs] =
      begun !== null && onItsWay !== null
        ? [onItsWay, begun]
        : [ms, this.#asleep.get(model) ?? begun ?? nowMs];
    return Math.max(wholeMs - (nowMs - sinceMs), wholeMs / 10);
  }

  /** When the edge that is furthest on its way was first seen so. */
  #begunMs(model: string): number | null {
    let first: number | null = null;
    for (const [key, atMs] of this.#pending) {
      if (key.endsWith(` ${model}`) && (first === null || atMs < first)) first = atMs;
    }
    return first;
  }

  #of(model: string): ModelTimes {
    const known = this.#times.get(model);
    if (known !== undefined) return known;
    const times: ModelTimes = { ...nothingMeasured };
    if (this.#times.size < MODELS_MAX) this.#times.set(model, times);
    return times;
  }
}

const nothingMeasured: ModelTimes = { wakeMs: null, startMs: null, loadMs: null };

function mean(known: number | null, measured: number): number {
  return known === null ? measured : known + WEIGHT * (measured - known);
}
