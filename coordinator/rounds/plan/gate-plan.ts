// What proves a new version and how it reaches the edges: the gate's margins, the canary and the
// waves after it, and how much worse than the incumbent it may do while it is watched.
import { z } from "zod";

const EDGES_MAX = 1_000;
const WAVES_MAX = 10;
const DAY_MS = 86_400_000;

/** How much worse than the incumbent a version may do with callers, and what is enough to tell. */
export const liveMarginsSchema = z.strictObject({
  /** Requests of the candidate, and of the incumbent, below which nothing is concluded. */
  samples: z.int().min(1).max(1_000_000).default(30),
  /** Points of the error rate: 2 lets 1 % become 3 %. */
  errorPoints: z.number().min(0).max(100).default(2),
  /** Mean time to the first token as a multiple of the incumbent's, and what is let pass anyway. */
  ttftRatio: z.number().min(1).max(100).default(2),
  ttftSlackMs: z.number().min(0).max(60_000).default(50),
  /** The same of the mean time for each token after it. */
  tpotRatio: z.number().min(1).max(100).default(2),
  tpotSlackMs: z.number().min(0).max(10_000).default(10),
  /** Of the mean rating, which lies between -1 and 1. */
  feedbackMargin: z.number().min(0).max(2).default(0.3),
  /** Ratings of each version below which they don't count. */
  feedbackSamples: z.int().min(1).max(1_000_000).default(10),
});
export type LiveMargins = z.infer<typeof liveMarginsSchema>;

export const gatePlanSchema = z.strictObject({
  /** Points of exact match that a version may cost the public set. */
  marginPoints: z.number().min(0).max(100).default(5),
  /** And a private set of one region: smaller, and the last rounds still move it. */
  privateMarginPoints: z.number().min(0).max(100).default(20),
  /** Rounds refused or rolled back in a row that end a campaign. */
  refusalsMax: z.int().min(1).max(200).default(3),
  /** Examples below which a private set proves nothing either way. */
  privateExamplesMin: z.int().min(1).max(10_000).default(10),
  /** Edges that try a version first. */
  canaryEdges: z.int().min(1).max(EDGES_MAX).default(1),
  /** Then shares of all edges, rising; when the last one has done well everybody gets it. */
  waves: z
    .array(z.number().gt(0).max(1))
    .max(WAVES_MAX)
    .refine((waves) => waves.every((share, i) => i === 0 || share > waves[i - 1]!), {
      message: "the shares of the waves must rise",
    })
    .default([0.5, 1]),
  /** Least time that a version is watched at the canaries, and in each wave. */
  holdMs: z.int().min(0).max(DAY_MS).default(1_000),
  /** Longest that a stage waits for enough requests, as long as they come fast enough for it. */
  patienceMs: z
    .int()
    .min(0)
    .max(7 * DAY_MS)
    .default(300_000),
  /** And if they don't: where hardly anybody calls, nothing can be learned by waiting. */
  quietMs: z
    .int()
    .min(0)
    .max(7 * DAY_MS)
    .default(5_000),
  /** How long it is watched once everybody has it. */
  watchMs: z
    .int()
    .min(0)
    .max(7 * DAY_MS)
    .default(60_000),
  live: liveMarginsSchema.prefault({}),
});
export type GatePlan = z.infer<typeof gatePlanSchema>;

/** Moves what requests and records still say of the gate in `rules` to where it belongs. */
export function gateOutOfRules(plan: unknown): unknown {
  if (!isRecord(plan) || !isRecord(plan.rules)) return plan;
  const { gateMarginPoints: marginPoints, ...rules } = plan.rules;
  if (marginPoints === undefined) return plan;
  if (plan.gate !== undefined && !isRecord(plan.gate)) return plan;
  return { ...plan, rules, gate: { marginPoints, ...plan.gate } };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
