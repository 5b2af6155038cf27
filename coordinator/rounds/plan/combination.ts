// Which sections of a plan can't hold together, each refusal naming both sides and a way out. Every
// owner of a section adds what excludes it here, so that a campaign is refused before it starts.
import { adaptiveOptimizers } from "../../../sync/strategy/server-optimizer.ts";
import { type PacePlan, paceRefusal } from "./pace-plan.ts";
import type { PrivacyPlan } from "./privacy-plan.ts";
import { ruleOf, type StrategyPlan } from "./strategy-plan.ts";

export interface CombinedPlan {
  readonly strategy: StrategyPlan;
  readonly privacy: PrivacyPlan;
  readonly pace: PacePlan;
  /** Absent in plans that were stored before there were codecs: f32. */
  readonly format?: { readonly codec: string };
}

type Refusal = (plan: CombinedPlan) => string | null;

/** Why a plan can't be carried out; null when it can. */
export function planRefusal(plan: CombinedPlan): string | null {
  for (const refusal of refusals) {
    const reason = refusal(plan);
    if (reason !== null) return reason;
  }
  return null;
}

const refusals: readonly Refusal[] = [
  ({ pace }) => paceRefusal(pace),
  maskedCombine,
  maskedLora,
  maskedCodec,
  noisedCombine,
  noisedLora,
  movingClip,
  serverNumbers,
  asynchronousPace,
];

/** A rule of the whole plan; what it leaves open fits whatever surrounds it. */
export function rulesOf({ strategy, privacy }: Pick<CombinedPlan, "strategy" | "privacy">) {
  const { noise, secureAggregation } = privacy;
  return ruleOf(strategy, { masked: secureAggregation, noised: noise !== null });
}

/** Masks hide single deltas, so nothing can judge them one by one. */
function maskedCombine({ strategy: { combine }, privacy }: CombinedPlan): string | null {
  if (!privacy.secureAggregation || combine === null || combine === "mean") return null;
  return (
    `secure aggregation hides single deltas, so ${combine} can't look at them: ` +
    "combine by mean, or go without secure aggregation"
  );
}

function maskedLora({ strategy: { lora }, privacy }: CombinedPlan): string | null {
  if (!privacy.secureAggregation || lora !== "stack") return null;
  return (
    "secure aggregation gives only sums, and a stack needs each edge's factors: " +
    "average them, or freeze A"
  );
}

function maskedCodec({ format, privacy }: CombinedPlan): string | null {
  const codec = format?.codec ?? "f32";
  if (!privacy.secureAggregation || codec === "f32") return null;
  return `secure aggregation masks whole numbers, so ${codec} saves nothing: use f32`;
}

/** Noise is as large as one edge's share of a plain mean; other rules let one edge weigh more. */
function noisedCombine({ strategy: { combine }, privacy }: CombinedPlan): string | null {
  if (privacy.noise === null || combine === null || combine === "mean") return null;
  return (
    `noise is calibrated to the clipped mean, and ${combine} has another sensitivity: ` +
    "combine by mean, whose clip is a norm bound already"
  );
}

function noisedLora({ strategy: { lora }, privacy }: CombinedPlan): string | null {
  if (privacy.noise === null || lora !== "stack") return null;
  return (
    "noise is calibrated to sums of factors, and the product of a stack has no bounded " +
    "sensitivity: average the factors, or freeze A"
  );
}

/** A clip that moves is found by counting whose norm lies within it. */
function movingClip({ privacy: { noise, secureAggregation } }: CombinedPlan): string | null {
  if (noise === null || noise.clipQuantile === null) return null;
  if (noise.at === "edge") {
    return (
      "a clip that follows the norms needs to see them, and the edges' own noise hides them: " +
      "add the noise at the center, or leave the clip where it is"
    );
  }
  if (!secureAggregation) return null;
  return (
    "a clip that follows the norms needs to see them, and secure aggregation hides them: " +
    "go without masks, or leave the clip where it is"
  );
}

/** Numbers that the chosen optimizer would never look at were meant for another one. */
function serverNumbers({ strategy }: CombinedPlan): string | null {
  const { server } = strategy;
  const isAdaptive = adaptiveOptimizers.includes(server);
  const hasMomentum = server === "fedavgm" || server === "nesterov";
  const idle = [
    ...(hasMomentum ? [] : (["momentum"] as const)),
    ...(isAdaptive ? [] : (["beta1", "beta2", "tau"] as const)),
    ...(isAdaptive && server === "fedadagrad" ? (["beta2"] as const) : []),
  ].find((name) => strategy[name] !== null);
  if (idle !== undefined) return `${server} has no ${idle}`;
  if (strategy.biasCorrection && server !== "fedadam") return `${server} has no bias correction`;
  return null;
}

function asynchronousPace({ strategy, pace, privacy }: CombinedPlan): string | null {
  const { asynchronous, lora } = strategy;
  if (asynchronous === null) return null;
  if (privacy.secureAggregation) {
    return "asynchronous rounds take deltas as they come, and masks need all of one round's edges";
  }
  if (privacy.noise?.at === "center") {
    return "asynchronous rounds weigh late deltas less, and central noise needs all to weigh alike";
  }
  if (lora === "stack") {
    return (
      "a late delta changes factors of an older version, and a stack gives each version factors " +
      "of its own: average them, or freeze A"
    );
  }
  if (pace.goal > 0 && pace.goal !== asynchronous.buffer) {
    return `a goal of ${pace.goal} deltas and a buffer of ${asynchronous.buffer} say two things`;
  }
  return null;
}
