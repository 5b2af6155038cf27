// The load of one model over the last minutes, second by second.
import type { Arrivals } from "./queue-replay.ts";

/** One look at a model; the counts only grow, from any start. */
export interface LoadSample {
  readonly atMs: number;
  /** Requests that came. */
  readonly arrived: number;
  /** Requests routed here, and those of them whose first token was predicted to be late. */
  readonly routed: number;
  readonly late: number;
}

export class LoadWindow {
  readonly #samples: LoadSample[] = [];
  readonly #lengthMs: number;

  constructor(lengthMs: number) {
    this.#lengthMs = lengthMs;
  }

  add(sample: LoadSample): void {
    this.#samples.push(sample);
    const oldestMs = sample.atMs - this.#lengthMs;
    while (this.#samples.length > 2 && this.#samples[1]!.atMs <= oldestMs) this.#samples.shift();
  }

  /** Requests by the second. */
  arrivals(lastMs: number): Arrivals {
    const samples = this.#samples.slice(this.#from(lastMs));
    const later = samples.slice(1);
    return {
      fromMs: samples[0]?.atMs ?? 0,
      atMs: later.map(({ atMs }) => atMs),
      counts: later.map(({ arrived }, at) => Math.max(0, arrived - samples[at]!.arrived)),
    };
  }

  /** Requests a second. */
  ratePerS(lastMs: number): number {
    const { spanMs, arrived } = this.#since(lastMs);
    return spanMs === 0 ? 0 : (arrived * 1000) / spanMs;
  }

  /**
   * By what factor the requests a second are likely to have grown `aheadMs` from now, told from the
   * two halves of the window: 1 where the difference may be chance, or is a fall.
   */
  growth(aheadMs: number): number {
    const whole = this.#since(this.#lengthMs);
    // A window that isn't full yet mistakes any beginning for a rise.
    if (whole.spanMs < this.#lengthMs * 0.9) return 1;
    const later = this.#since(whole.spanMs / 2);
    const rise = later.arrived - (whole.arrived - later.arrived);
    // Poisson counts vary by their square root; twice that is hardly chance, unless in bursts.
    if (rise <= 2 * Math.sqrt(whole.arrived)) return 1;
    const halfMs = whole.spanMs / 2;
    const nowRate = later.arrived / halfMs;
    return 1 + ((rise / halfMs ** 2) * aheadMs) / nowRate;
  }

  /** Share of the requests routed that were predicted to be late; null when there were too few. */
  lateShare(lastMs: number, requestsMin: number): number | null {
    const { routed, late } = this.#since(lastMs);
    return routed < requestsMin ? null : late / routed;
  }

  /** What has come in the last so many milliseconds. */
  #since(lastMs: number) {
    const last = this.#samples.at(-1);
    if (last === undefined) return { spanMs: 0, arrived: 0, routed: 0, late: 0 };
    const first = this.#samples[this.#from(lastMs)]!;
    return {
      spanMs: last.atMs - first.atMs,
      arrived: Math.max(0, last.arrived - first.arrived),
      routed: last.routed - first.routed,
      late: last.late - first.late,
    };
  }

  /** Where the last so many milliseconds begin, at or just before. */
  #from(lastMs: number): number {
    let at = Math.max(0, this.#samples.length - 1);
    const fromMs = (this.#samples[at]?.atMs ?? 0) - lastMs;
    while (at > 0 && this.#samples[at]!.atMs > fromMs) at -= 1;
    return at;
  }
}
