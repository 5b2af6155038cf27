// What a link between two sites is like: how long a round trip takes, how much that varies, how
// much is lost and how much fits through; and what pairs of sites get that nobody described.
import { z } from "zod";

export interface LinkShape {
  /** Least that a round trip takes. */
  readonly rttMs: number;
  /** Most that a round trip takes beyond that; each way draws up to half of it, evenly. */
  readonly jitterMs: number;
  /** Of a TCP segment that sets out, the probability that it must be sent again. */
  readonly lossRate: number;
  /** Megabits a second each way, for all connections together; null is without a limit. */
  readonly mbitPerS: number | null;
}

const MS_MAX = 10_000;
const LOSS_RATE_MAX = 0.5;
const MBIT_PER_S_MIN = 0.01;
const MBIT_PER_S_MAX = 100_000;

const ms = z.number().min(0).max(MS_MAX);

/** The fields of a shape, each of which may be left out. */
export const shapeFields = {
  rttMs: ms.optional(),
  jitterMs: ms.optional(),
  lossRate: z.number().min(0).max(LOSS_RATE_MAX).optional(),
  mbitPerS: z.number().min(MBIT_PER_S_MIN).max(MBIT_PER_S_MAX).nullable().optional(),
};

/** What a shape is to be changed to; what is left out stays. */
export type ShapeChange = { readonly [K in keyof LinkShape]?: LinkShape[K] | undefined };

/** Between regions of different continents, as public clouds measure them. */
const knownRttsMs: Readonly<Record<string, number>> = {
  "eu us": 80,
  "ap eu": 160,
  "ap us": 140,
};
const UNKNOWN_RTT_MS = 100;
/** The coordinator's site stands in this region. */
const CENTRAL = "central";
const CENTRAL_IS_IN = "us";
/** Between two zones of one region. */
const nearby: LinkShape = { rttMs: 2, jitterMs: 0, lossRate: 0, mbitPerS: null };
const JITTER_SHARE = 0.05;
const DEFAULT_LOSS_RATE = 0.0005;
const DEFAULT_MBIT_PER_S = 500;

/** The shape of the link between two sites: what is given, and the usual for the rest. */
export function linkShape(a: string, b: string, given: ShapeChange = {}): LinkShape {
  const pair = [a, b].map((site) => (site === CENTRAL ? CENTRAL_IS_IN : site)).sort();
  if (pair[0] === pair[1]) return changedShape(nearby, given);
  const rttMs = given.rttMs ?? knownRttsMs[pair.join(" ")] ?? UNKNOWN_RTT_MS;
  const usual = {
    rttMs,
    jitterMs: rttMs * JITTER_SHARE,
    lossRate: DEFAULT_LOSS_RATE,
    mbitPerS: DEFAULT_MBIT_PER_S,
  };
  return changedShape(usual, given);
}

/** The shape with what is given in place of what was. */
export function changedShape(shape: LinkShape, given: ShapeChange): LinkShape {
  return {
    rttMs: given.rttMs ?? shape.rttMs,
    jitterMs: given.jitterMs ?? shape.jitterMs,
    lossRate: given.lossRate ?? shape.lossRate,
    mbitPerS: given.mbitPerS === undefined ? shape.mbitPerS : given.mbitPerS,
  };
}
