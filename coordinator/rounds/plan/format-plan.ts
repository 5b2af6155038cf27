// How a campaign's edges write the numbers of their deltas.
import { z } from "zod";
import { codecNames } from "../../../sync/delta/codec/delta-format.ts";

export const formatPlanSchema = z.strictObject({
  /** f32 loses nothing; bf16 takes a half, int8 a quarter, top-k twice its share of the bytes. */
  codec: z.enum(codecNames).default("f32"),
  /** Share of the numbers that top-k sends; edges add what is left out to their next delta. */
  topShare: z.number().gt(0).max(1).default(0.1),
});
export type FormatPlan = z.infer<typeof formatPlanSchema>;
