// Who or what started a campaign, as it is remembered with it.
import { z } from "zod";

export const campaignTriggerSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("operator") }),
  /** The clock; `dueMs` names the turn, so that a crash can't start it twice. */
  z.strictObject({ kind: z.literal("schedule"), dueMs: z.int() }),
  /** Edges whose inputs are no longer what they trained on. */
  z.strictObject({
    kind: z.literal("drift"),
    /** The farthest of them. */
    edges: z.array(z.string()),
    count: z.int(),
    /** Of the farthest. */
    score: z.number(),
  }),
]);
export type CampaignTrigger = z.infer<typeof campaignTriggerSchema>;

/** In words, for a line; empty for an operator's. */
export function triggerText(trigger: CampaignTrigger): string {
  switch (trigger.kind) {
    case "operator":
      return "";
    case "schedule":
      return `scheduled for ${new Date(trigger.dueMs).toISOString().slice(0, 16)}Z`;
    case "drift": {
      const others = trigger.count > 1 ? ` and ${trigger.count - 1} more` : "";
      return `inputs drifted on ${trigger.edges[0]}${others} (${trigger.score.toFixed(2)})`;
    }
  }
}
