// Where the regions of a simulation are, and how far from each other.
import type { Random } from "../../../runtime/random.ts";
import type { PathQuality } from "./sim-path.ts";

interface Place {
  readonly x: number;
  readonly y: number;
}

/** One way, across the whole map and within a region. */
const ACROSS_MS = 110;
const HOP_MS = 4;
const WITHIN_MS = 1.5;

export class Geography {
  readonly #places: readonly Place[];

  constructor(regions: number, random: Random) {
    this.#places = Array.from({ length: regions }, () => ({ x: random(), y: random() / 2 }));
  }

  /** Between two regions; of one to itself, between what is in it. */
  between(left: number, right: number, lossShare: number): PathQuality {
    if (left === right) return { latencyMs: WITHIN_MS, jitterMs: 0.5, lossShare };
    const from = this.#places[left]!;
    const to = this.#places[right]!;
    const distance = Math.hypot(from.x - to.x, from.y - to.y);
    const latencyMs = HOP_MS + distance * ACROSS_MS;
    return { latencyMs, jitterMs: latencyMs * 0.05, lossShare };
  }

  /** All regions as seen from one, from near to far. */
  fromNear(region: number): number[] {
    const others = this.#places.map((_, at) => at);
    const away = (at: number) => this.between(region, at, 0).latencyMs;
    return others.sort((a, b) => away(a) - away(b) || a - b);
  }
}
