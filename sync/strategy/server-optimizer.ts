// What the server does with the mean update of a round: the optimizers of federated learning, as
// functions of (plan, numbers, mean delta, state). Coordinate by coordinate, in f64.
// Source: Reddi et al., "Adaptive Federated Optimization", arXiv 2003.00295; Hsu et al. (FedAvgM),
// arXiv 1909.06335; Douillard et al. (DiLoCo: outer Nesterov), arXiv 2311.08105.
import { Fault } from "../../proto/fault.ts";

export const serverOptimizers = [
  "fedavg",
  "fedavgm",
  "fedadagrad",
  "fedadam",
  "fedyogi",
  "nesterov",
] as const;
export type ServerOptimizer = (typeof serverOptimizers)[number];

export interface ServerPlan {
  readonly server: ServerOptimizer;
  readonly learningRate: number;
  /** Share of the last step that FedAvgM and Nesterov keep. */
  readonly momentum: number;
  readonly beta1: number;
  readonly beta2: number;
  /** Added to √v: the smaller, the more a coordinate's own history decides. */
  readonly tau: number;
  /** Flower's correction of FedAdam's first rounds, which the paper doesn't have. */
  readonly biasCorrection: boolean;
}

/** Each optimizer's own defaults; FedAvg at rate 1 is the plain mean. */
export const serverDefaults: Record<ServerOptimizer, ServerPlan> = {
  fedavg: planOf("fedavg", { learningRate: 1 }),
  fedavgm: planOf("fedavgm", { learningRate: 1 }),
  fedadagrad: planOf("fedadagrad", { beta1: 0 }),
  fedadam: planOf("fedadam", {}),
  fedyogi: planOf("fedyogi", { learningRate: 0.01 }),
  nesterov: planOf("nesterov", { learningRate: 0.7 }),
};

/** Numbers by tensor name. */
export type Vectors = ReadonlyMap<string, Float64Array>;

/** What an optimizer carries from one round to the next. */
export interface ServerState {
  readonly server: ServerOptimizer;
  /** Rounds that it has seen. */
  readonly rounds: number;
  /** Momentum, or the mean of the deltas; empty for FedAvg. */
  readonly first: Vectors;
  /** Of squares; empty for those without. */
  readonly second: Vectors;
}

export interface ServerStep {
  readonly x: Vectors;
  readonly state: ServerState;
}

/**
 * The global numbers after a round. Without a state, or with one of another optimizer or of other
 * tensors, it starts afresh. Faults: `invalid-argument` when x and delta don't match.
 */
export function serverStep(
  plan: ServerPlan,
  x: Vectors,
  delta: Vectors,
  before: ServerState | null,
): ServerStep {
  const state = before !== null && fits(before, plan.server, x) ? before : null;
  const rounds = (state?.rounds ?? 0) + 1;
  const update = updateOf(plan, rounds);
  const next = new Map<string, Float64Array>();
  const first = new Map<string, Float64Array>();
  const second = new Map<string, Float64Array>();
  const { hasFirst, hasSecond } = memoryOf(plan.server);
  for (const [name, from] of x) {
    const change = delta.get(name);
    if (change?.length !== from.length) {
      throw new Fault("invalid-argument", `the mean delta has no ${from.length} of ${name}`);
    }
    const m = copyOf(state?.first.get(name), hasFirst ? from.length : 0);
    const v = copyOf(state?.second.get(name), hasSecond ? from.length : 0);
    next.set(name, update(from, change, m, v));
    if (hasFirst) first.set(name, m);
    if (hasSecond) second.set(name, v);
  }
  return { x: next, state: { server: plan.server, rounds, first, second } };
}

/** Which vectors an optimizer carries over. */
export function memoryOf(server: ServerOptimizer): { hasFirst: boolean; hasSecond: boolean } {
  const isAdaptive = adaptiveOptimizers.includes(server);
  return { hasFirst: server !== "fedavg", hasSecond: isAdaptive };
}

type Update = (
  x: Float64Array,
  delta: Float64Array,
  /** Both are changed in place. */
  m: Float64Array,
  v: Float64Array,
) => Float64Array;

/** Those that scale each coordinate by its own history. */
export const adaptiveOptimizers: readonly ServerOptimizer[] = ["fedadagrad", "fedadam", "fedyogi"];

function updateOf(plan: ServerPlan, round: number): Update {
  if (plan.server === "fedavg") {
    return (x, delta) => x.map((value, i) => value + plan.learningRate * delta[i]!);
  }
  return adaptiveOptimizers.includes(plan.server)
    ? adaptiveUpdate(plan, round)
    : momentumUpdate(plan);
}

/** FedAvgM: b ← μb − Δ, x ← x − lr·b. Nesterov looks one step of momentum ahead. */
function momentumUpdate({ server, learningRate, momentum }: ServerPlan): Update {
  const looksAhead = server === "nesterov";
  return (x, delta, b) =>
    x.map((value, i) => {
      b[i] = momentum * b[i]! - delta[i]!;
      const step = looksAhead ? momentum * b[i] - delta[i]! : b[i];
      return value - learningRate * step;
    });
}

function adaptiveUpdate(plan: ServerPlan, round: number): Update {
  const { beta1, tau } = plan;
  const square = squareOf(plan);
  const rate = plan.learningRate * correctionOf(plan, round);
  return (x, delta, m, v) =>
    x.map((value, i) => {
      m[i] = beta1 * m[i]! + (1 - beta1) * delta[i]!;
      v[i] = square(v[i]!, delta[i]! ** 2);
      return value + (rate * m[i]) / (Math.sqrt(v[i]) + tau);
    });
}

function squareOf({ server, beta2 }: ServerPlan): (v: number, squared: number) => number {
  if (server === "fedadagrad") return (v, squared) => v + squared;
  if (server === "fedadam") return (v, squared) => beta2 * v + (1 - beta2) * squared;
  return (v, squared) => v - (1 - beta2) * squared * Math.sign(v - squared);
}

function correctionOf(plan: ServerPlan, round: number): number {
  if (plan.server !== "fedadam" || !plan.biasCorrection) return 1;
  return Math.sqrt(1 - plan.beta2 ** (round + 1)) / (1 - plan.beta1 ** (round + 1));
}

function fits(state: ServerState, server: ServerOptimizer, x: Vectors): boolean {
  if (state.server !== server) return false;
  const { hasFirst, hasSecond } = memoryOf(server);
  const covers = (vectors: Vectors) =>
    vectors.size === x.size &&
    [...x].every(([name, { length }]) => vectors.get(name)?.length === length);
  return (!hasFirst || covers(state.first)) && (!hasSecond || covers(state.second));
}

function copyOf(vector: Float64Array | undefined, length: number): Float64Array {
  return vector ? Float64Array.from(vector) : new Float64Array(length);
}

function planOf(server: ServerOptimizer, change: Partial<ServerPlan>): ServerPlan {
  return {
    server,
    learningRate: 0.1,
    momentum: 0.9,
    beta1: 0.9,
    beta2: 0.99,
    tau: 1e-3,
    biasCorrection: false,
    ...change,
  };
}
