// When rounds of a model start by themselves: every so often, when edges drift, or both. What an
// operator asks for, and what is remembered of it.
import { z } from "zod";
import { modelNameSchema } from "../../catalogue/model-record.ts";
import { EVERY_MAX_MS, EVERY_MIN_MS } from "../plan/pace-plan.ts";

/** What follows when edges report that their inputs have drifted from what they trained on. */
export const driftAnswers = ["ignore", "suggest", "start"] as const;
export type DriftAnswer = (typeof driftAnswers)[number];

const COOLDOWN_MAX_MS = 366 * 86_400_000;

const policy = {
  /** Milliseconds from one start to the next; null means not by the clock. */
  every: z.int().min(EVERY_MIN_MS).max(EVERY_MAX_MS).nullable().default(null),
  onDrift: z.enum(driftAnswers).default("suggest"),
  /** Fewest edges that must have drifted. */
  driftingEdges: z.int().min(1).max(100_000).default(1),
  /** After a campaign of the model has ended, how long drift starts no other. */
  cooldownMs: z.int().min(0).max(COOLDOWN_MAX_MS).default(3_600_000),
};

/** A campaign's request without the model: checked when it is given, and again at each start. */
const requestSchema = z.record(z.string(), z.json());

export const scheduleRequestSchema = z.strictObject({
  ...policy,
  request: requestSchema.default({}),
});
export type ScheduleRequest = z.infer<typeof scheduleRequestSchema>;

export const scheduleSchema = z.strictObject({
  ...policy,
  model: modelNameSchema,
  request: requestSchema,
  createdMs: z.int(),
  /** When it is due next; null when it isn't by the clock. */
  nextMs: z.int().nullable(),
  /** What came of it last. */
  last: z
    .strictObject({
      atMs: z.int(),
      why: z.enum(["schedule", "drift"]),
      /** The campaign that was started; null where none was, and `reason` says why. */
      campaign: z.string().nullable(),
      reason: z.string(),
    })
    .nullable(),
  /** Taken back by an operator; kept for the record. */
  removed: z.boolean().default(false),
});
export type Schedule = z.infer<typeof scheduleSchema>;

/** The first time after now that is a whole number of periods after `nextMs`. */
export function nextDueMs(nextMs: number, every: number, nowMs: number): number {
  if (nextMs > nowMs) return nextMs;
  return nextMs + every * (Math.floor((nowMs - nextMs) / every) + 1);
}
