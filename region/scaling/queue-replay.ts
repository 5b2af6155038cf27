// How many slots it would have taken: sends the last minutes' requests once more through so many
// slots and counts those that would have waited too long. Real arrivals come in bursts that no
// formula knows; what they were like a minute ago is known.
//
// Each request takes the mean time in its slot, and they are served in order, so the one that comes
// m places after another begins when that one has left: a queue G/D/m, solved request by request.

/** Requests replayed one by one; of more, several go as one through a share of the slots. */
const REPLAYED_MAX = 4096;
/** With fewer requests in a span, a late one is chance. */
const ASKED_MIN = 8;

export interface Arrivals {
  /** When the first second began. */
  readonly fromMs: number;
  /** When each second ended, in order. */
  readonly atMs: readonly number[];
  /** Requests that came in each. */
  readonly counts: readonly number[];
}

export interface ReplayGoal {
  readonly serviceMs: number;
  /** Waiting longer than this is a miss. */
  readonly waitMaxMs: number;
  /** Share of the requests that may miss. */
  readonly missShareMax: number;
  /** The share must hold in the last so many milliseconds, for each of these. */
  readonly spansMs: readonly number[];
}

/** The fewest edges, of `slots` each, that keep the misses in their share; one beyond the most. */
export function edgesNeeded(
  arrivals: Arrivals,
  goal: ReplayGoal,
  slots: number,
  edgesMax: number,
): number {
  const replay = new Replay(arrivals, goal);
  if (replay.isEmpty) return 0;
  let [low, high] = [1, edgesMax + 1];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (replay.meets(middle * slots)) high = middle;
    else low = middle + 1;
  }
  return low;
}

class Replay {
  readonly #goal: ReplayGoal;
  /** Each request's time; several go as one where there are very many. */
  readonly #times: Float64Array;
  readonly #begins: Float64Array;
  readonly #group: number;
  readonly #endMs: number;

  constructor({ fromMs, atMs, counts }: Arrivals, goal: ReplayGoal) {
    this.#goal = goal;
    this.#endMs = atMs.at(-1) ?? 0;
    const total = counts.reduce((sum, count) => sum + count, 0);
    this.#group = Math.max(1, Math.ceil(total / REPLAYED_MAX));
    const times: number[] = [];
    let carried = 0;
    for (const [second, count] of counts.entries()) {
      const endMs = atMs[second]!;
      const beginMs = second === 0 ? fromMs : atMs[second - 1]!;
      carried += count / this.#group;
      const whole = Math.floor(carried);
      carried -= whole;
      for (let at = 0; at < whole; at += 1) {
        times.push(beginMs + ((at + 1) * (endMs - beginMs)) / (whole + 1));
      }
    }
    this.#times = Float64Array.from(times);
    this.#begins = new Float64Array(times.length);
  }

  get isEmpty(): boolean {
    return this.#times.length === 0;
  }

  meets(slots: number): boolean {
    const servers = Math.max(1, Math.floor(slots / this.#group));
    const { serviceMs, waitMaxMs, spansMs, missShareMax } = this.#goal;
    const times = this.#times;
    const begins = this.#begins;
    for (let at = 0; at < times.length; at += 1) {
      const freeMs = at < servers ? 0 : begins[at - servers]! + serviceMs;
      begins[at] = Math.max(times[at]!, freeMs);
    }
    return spansMs.every((spanMs) => {
      let [asked, missed] = [0, 0];
      for (let at = times.length - 1; at >= 0 && times[at]! > this.#endMs - spanMs; at -= 1) {
        asked += 1;
        if (begins[at]! - times[at]! > waitMaxMs) missed += 1;
      }
      return asked * this.#group < ASKED_MIN || missed <= asked * missShareMax;
    });
  }
}
