// The pace of a campaign: how many edges a round wants, how few will do, how long it waits, and
// how often it comes again.
import { z } from "zod";

const COUNT_MAX = 100_000;
const DEADLINE_MIN_MS = 1_000;
const DEADLINE_MAX_MS = 86_400_000;
export const EVERY_MIN_MS = 60_000;
export const EVERY_MAX_MS = 366 * 86_400_000;

/**
 * Source of the over-selection: Bonawitz et al. 2019 (arXiv 1902.01046) see 6 to 10 % of devices
 * drop out of a round, and select 130 % of the goal.
 */
export const pacePlanSchema = z.strictObject({
  /** Deltas that make a round: with these it ends before its deadline. 0 asks every edge. */
  goal: z.int().min(0).max(COUNT_MAX).default(0),
  /** Edges invited for each delta of the goal, since some drop out. */
  overSelection: z.number().min(1).max(3).default(1.3),
  /** Fewest edges whose deltas make a round; below, it is abandoned. */
  quorum: z.int().min(1).max(COUNT_MAX).default(1),
  /** Longest from the offer to the last delta. */
  deadlineMs: z.int().min(DEADLINE_MIN_MS).max(DEADLINE_MAX_MS).default(300_000),
  /** Milliseconds until the campaign is started again; null means never. */
  every: z.int().min(EVERY_MIN_MS).max(EVERY_MAX_MS).nullable().default(null),
});
export type PacePlan = z.infer<typeof pacePlanSchema>;

/** Why a pace can't be kept; null when it can. */
export function paceRefusal({ goal, quorum }: PacePlan): string | null {
  if (goal === 0 || goal >= quorum) return null;
  return `a goal of ${goal} deltas can never make a quorum of ${quorum}`;
}

/** What `rules` once said of the pace: field there → field here. */
const formerNames = { quorum: "quorum", roundTimeoutMs: "deadlineMs" } as const;

/** Moves what requests and records still say of the pace in `rules` to where it belongs. */
export function paceOutOfRules(plan: unknown): unknown {
  if (!isRecord(plan) || !isRecord(plan.rules)) return plan;
  if (plan.pace !== undefined && !isRecord(plan.pace)) return plan;
  const rules = { ...plan.rules };
  const pace = { ...plan.pace };
  for (const [former, name] of Object.entries(formerNames)) {
    if (!Object.hasOwn(rules, former)) continue;
    if (!Object.hasOwn(pace, name)) pace[name] = rules[former];
    delete rules[former];
  }
  return { ...plan, rules, pace };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
