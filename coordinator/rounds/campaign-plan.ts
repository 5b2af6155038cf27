// From what an operator asks for to a campaign that can start, or a clear refusal. Pure but for
// reading the catalogue.
import { z } from "zod";
import { Fault } from "../../proto/fault.ts";
import type { Catalogue } from "../catalogue/catalogue.ts";
import {
  artifactRefSchema,
  modelNameSchema,
  type TrainingState,
} from "../catalogue/model-record.ts";
import type { CampaignState } from "./campaign-state.ts";
import type { CampaignTrigger } from "./campaign-trigger.ts";
import {
  ROUNDS_MAX,
  roundRulesSchema,
  ruleDefaults,
  type TrainPlan,
  trainDefaults,
  trainParamsSchema,
} from "./params.ts";
import { planRefusal } from "./plan/combination.ts";
import { outOfRules, planSections } from "./plan/plan-sections.ts";

const wholeRequestSchema = z.strictObject({
  ...planSections,
  model: modelNameSchema,
  rounds: z.int().min(1).max(ROUNDS_MAX).default(1),
  params: trainParamsSchema.partial().default({}),
  rules: roundRulesSchema.partial().default({}),
  /** Instead of the model's own sets. */
  replay: artifactRefSchema.optional(),
  heldout: artifactRefSchema.optional(),
});
export const campaignRequestSchema = z.preprocess(outOfRules, wholeRequestSchema);
export type CampaignRequest = z.infer<typeof campaignRequestSchema>;

/**
 * Plans a campaign on the version that is served now.
 * Faults: `model-not-found`, `failed-precondition` (nothing served, no held-out set to gate on, an
 * adapter that can't be trained on), `invalid-argument` for a shape other than the adapter's.
 */
export function planCampaign(
  id: string,
  request: CampaignRequest,
  context: {
    readonly catalogue: Catalogue;
    readonly regions: readonly string[];
    readonly nowMs: number;
    readonly trigger: CampaignTrigger;
  },
): CampaignState {
  const model = context.catalogue.model(request.model);
  if (model.served === null) {
    throw new Fault("failed-precondition", `${model.model} has no version to train on`);
  }
  const start = context.catalogue.version(model.served);
  if (start.training === null && start.adapters.length > 0) {
    const message = `${start.version} has an adapter without the state to train it on from`;
    throw new Fault("failed-precondition", message);
  }
  const heldout = request.heldout ?? model.heldout;
  if (heldout === null) {
    const message =
      `${model.model} has no held-out set, so nothing could prove that a round does no harm; ` +
      "publish it with one, or give one to the campaign";
    throw new Fault("failed-precondition", message, { param: "heldout" });
  }
  const refusal = planRefusal(request);
  if (refusal !== null) throw new Fault("invalid-argument", refusal);
  return {
    ...planOf(request),
    pace: paceOf(request),
    id,
    model: model.model,
    createdMs: context.nowMs,
    endedMs: null,
    trigger: context.trigger,
    rounds: request.rounds,
    params: paramsOf(request, start.training),
    rules: roundRulesSchema.parse({ ...ruleDefaults, ...request.rules }),
    regions: [...context.regions].sort(),
    replay: request.replay ?? model.replay,
    heldout,
    phase: "measuring",
    reason: "",
    startVersion: start.version,
    good: { version: start.version, training: start.training },
    baseline: null,
    latest: null,
    rejections: 0,
    abandonedInRow: 0,
    clip: null,
    round: null,
    last: null,
    past: [],
  };
}

/** An asynchronous round ends when its buffer is full. */
function paceOf({ pace, strategy: { asynchronous } }: CampaignRequest): CampaignRequest["pace"] {
  return asynchronous === null ? pace : { ...pace, goal: asynchronous.buffer };
}

/** The sections of the plan alone. */
function planOf(request: CampaignRequest) {
  const names = Object.keys(planSections) as (keyof typeof planSections)[];
  const sections = names.map((name) => [name, request[name]]);
  return Object.fromEntries(sections) as Pick<CampaignRequest, keyof typeof planSections>;
}

/** An adapter that is there already keeps its shape. */
function paramsOf({ params }: CampaignRequest, training: TrainingState | null): TrainPlan {
  if (training === null) return trainParamsSchema.parse({ ...trainDefaults, ...params });
  for (const key of ["rank", "alpha"] as const) {
    const wanted = params[key];
    if (wanted === undefined || wanted === training[key]) continue;
    const message = `the served adapter has ${key} ${training[key]}, not ${wanted}`;
    throw new Fault("invalid-argument", message, { param: `params.${key}` });
  }
  return trainParamsSchema.parse({
    ...trainDefaults,
    ...params,
    rank: training.rank,
    alpha: training.alpha,
  });
}
