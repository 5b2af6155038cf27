// What noised rounds cost in privacy: Rényi divergences of the subsampled Gaussian mechanism, which
// add up over rounds, and the (ε, δ) that they amount to.
// Source: Mironov, Talwar, Zhang, "Rényi differential privacy of the sampled Gaussian mechanism",
// arXiv 1908.10530, section 3.3; the conversion is proposition 12 of Canonne, Kamath, Steinke,
// arXiv 2004.00010.
import { Fault } from "../../proto/fault.ts";
import { logAdd, logErfc, logSubtract } from "./log-numbers.ts";

/** Rounds of one kind. */
export interface NoisedRounds {
  /** Deviation of the noise as a multiple of what one edge can move. */
  readonly multiplier: number;
  /** Probability with which each edge takes part, independently of all others; 1 hides nothing. */
  readonly samplingRate: number;
  readonly rounds: number;
}

export interface PrivacyLoss {
  readonly epsilon: number;
  /** The order at which the bound is tightest. */
  readonly order: number;
}

/** Orders at which the divergence is followed; the tightest bound of them counts. */
export const RDP_ORDERS: readonly number[] = [
  ...Array.from({ length: 99 }, (_, i) => 1 + (i + 1) / 10),
  ...Array.from({ length: 53 }, (_, i) => i + 11),
  ...[80, 96, 128, 192, 256, 384, 512, 768, 1024],
];

/** Terms beyond which a series must have converged. */
const TERMS_MAX = 100_000;
/** A series has converged once its terms are below e⁻⁴⁰. */
const LOG_NEGLIGIBLE = -40;
/** Closer to 1, the conversion isn't stable. */
const ORDER_MIN = 1.01;

/** ε at δ of everything together. Faults: `invalid-argument` for numbers out of their range. */
export function privacyLoss(
  spent: readonly NoisedRounds[],
  delta: number,
  orders: readonly number[] = RDP_ORDERS,
): PrivacyLoss {
  if (!(delta > 0 && delta < 1)) throw new Fault("invalid-argument", `δ is ${delta}`);
  let best: PrivacyLoss = { epsilon: Infinity, order: 0 };
  for (const order of orders) {
    const divergence = spent.reduce((sum, rounds) => sum + renyiDivergence(rounds, order), 0);
    const epsilon = epsilonOf(divergence, order, delta);
    if (epsilon < best.epsilon) best = { epsilon, order };
  }
  return best;
}

/**
 * How the series of an order between whole ones are summed: as they are, or by the absolute values
 * of their terms, which never says too little and cancels no digits (3 % above at order 1.5).
 */
export type Series = "exact" | "bound";

/** The Rényi divergence of so many rounds at an order above 1. */
export function renyiDivergence(
  { multiplier, samplingRate, rounds }: NoisedRounds,
  order: number,
  series: Series = "exact",
): number {
  const isRate = samplingRate >= 0 && samplingRate <= 1;
  if (!isRate || !(multiplier >= 0) || !(rounds >= 0) || !(order > 1)) {
    const found = `z ${multiplier}, q ${samplingRate}, ${rounds} rounds, order ${order}`;
    throw new Fault("invalid-argument", `no divergence for ${found}`);
  }
  if (rounds === 0 || samplingRate === 0) return 0;
  if (multiplier === 0) return Infinity;
  if (samplingRate === 1) return (rounds * order) / (2 * multiplier ** 2);
  const logMoment = Number.isInteger(order)
    ? wholeMoment(samplingRate, multiplier, order)
    : brokenMoment(samplingRate, multiplier, order, series);
  return (rounds * logMoment) / (order - 1);
}

/** log A(α) for a whole order: a finite binomial sum. */
function wholeMoment(q: number, sigma: number, order: number): number {
  let sum = -Infinity;
  let logBinomial = 0;
  for (let k = 0; k <= order; k++) {
    const logShare = k * Math.log(q) + (order - k) * Math.log1p(-q);
    sum = logAdd(sum, logBinomial + logShare + (k * k - k) / (2 * sigma ** 2));
    logBinomial += Math.log((order - k) / (k + 1));
  }
  return sum;
}

/** log A(α) for an order between whole ones: two series whose terms change sign. */
function brokenMoment(q: number, sigma: number, order: number, series: Series): number {
  const edge = sigma ** 2 * Math.log(1 / q - 1) + 0.5;
  let [low, high] = [-Infinity, -Infinity];
  let logBinomial = 0;
  let isPositive = true;
  const gaussian = (k: number, side: number) => {
    const tail = Math.log(0.5) + logErfc(side / (Math.SQRT2 * sigma));
    return (k * k - k) / (2 * sigma ** 2) + tail;
  };
  for (let i = 0; i < TERMS_MAX; i++) {
    const j = order - i;
    const logQ = Math.log(q);
    const logRest = Math.log1p(-q);
    const lower = logBinomial + i * logQ + j * logRest + gaussian(i, i - edge);
    const upper = logBinomial + j * logQ + i * logRest + gaussian(j, edge - j);
    const combine = isPositive || series === "bound" ? logAdd : logSubtract;
    low = combine(low, lower);
    high = combine(high, upper);
    if (Math.max(lower, upper) < LOG_NEGLIGIBLE) return logAdd(low, high);
    logBinomial += Math.log(Math.abs(j / (i + 1)));
    if (j < 0) isPositive = !isPositive;
  }
  throw new Fault("internal", `the moment of order ${order} does not converge`);
}

function epsilonOf(divergence: number, order: number, delta: number): number {
  // So little happens at all that δ alone covers it (Bretagnolle and Huber's bound).
  if (delta ** 2 + Math.expm1(-divergence) > 0) return 0;
  if (order < ORDER_MIN || divergence === Infinity) return Infinity;
  const epsilon = divergence + Math.log1p(-1 / order) - Math.log(delta * order) / (order - 1);
  return Math.max(0, epsilon);
}
