// What an operator asks of scaling, for every model and for single ones: how soon answers should
// begin, how few and how many edges, and how requests for a model that is asleep are kept.
import { z } from "zod";
import { modelPattern } from "../../proto/ids.ts";

const REPLICAS_MAX = 10_000;
const MODELS_MAX = 1024;
const MINUTE_MS = 60_000;

const rulesShape = {
  /** A first token later than this is a miss; 95 in 100 should be sooner. */
  ttftTargetMs: z.number().min(1).default(2000),
  /** 0 lets the model sleep. */
  replicasMin: z.int().min(0).max(REPLICAS_MAX).default(1),
  replicasMax: z.int().min(1).max(REPLICAS_MAX).default(10),
  /** A model that nobody has asked for so long may sleep. */
  idleMinutes: z.number().positive().default(30),
  /**
   * Edges go only when none of the last so many minutes asked for them. Kubernetes waits as long
   * (HorizontalPodAutoscaler, scaleDown.stabilizationWindowSeconds 300).
   */
  stabiliseMinutes: z.number().min(0).default(5),
};

const { ttftTargetMs, replicasMin, replicasMax, idleMinutes, stabiliseMinutes } = rulesShape;

/** Of one model: what it leaves out holds as for every model. */
const ownRules = z.strictObject({
  ttftTargetMs: ttftTargetMs.unwrap().optional(),
  replicasMin: replicasMin.unwrap().optional(),
  replicasMax: replicasMax.unwrap().optional(),
  idleMinutes: idleMinutes.unwrap().optional(),
  stabiliseMinutes: stabiliseMinutes.unwrap().optional(),
});

const isOrdered = ({ replicasMin: min = 0, replicasMax: max = REPLICAS_MAX }) => min <= max;
const outOfOrder = { path: ["replicasMin"], error: "must be at most replicasMax" };

/** The `scaling` part of a region's configuration. */
export const scalingSchema = z
  .strictObject({
    everyModel: z.strictObject(rulesShape).refine(isOrdered, outOfOrder).prefault({}),
    models: z
      .record(z.string().regex(modelPattern, "isn't a model's name"), ownRules)
      .refine((models) => Object.keys(models).length <= MODELS_MAX, `more than ${MODELS_MAX}`)
      .default({}),
    /** How requests are kept for a model that no edge serves at the moment. */
    hold: z
      .strictObject({
        /** After so long a request gets a 503 that says when to come back. */
        patienceMs: z.int().min(0).default(20_000),
        requestsMax: z.int().min(0).default(512),
        requestsPerModelMax: z.int().min(0).default(128),
        bytesMax: z
          .int()
          .min(0)
          .default(32 << 20),
      })
      .prefault({}),
  })
  .refine(
    ({ everyModel, models }) => {
      return Object.values(models).every((own) => isOrdered({ ...everyModel, ...defined(own) }));
    },
    { path: ["models"], error: "replicasMin must be at most replicasMax" },
  )
  .prefault({});

export type ScalingConfig = Readonly<z.output<typeof scalingSchema>>;
export type HoldBounds = ScalingConfig["hold"];

export interface ScalingRules {
  readonly ttftTargetMs: number;
  readonly replicasMin: number;
  readonly replicasMax: number;
  readonly idleMs: number;
  readonly stabiliseMs: number;
}

export function rulesFor(config: ScalingConfig, model: string): ScalingRules {
  const own = Object.hasOwn(config.models, model) ? (config.models[model] ?? {}) : {};
  const { idleMinutes, stabiliseMinutes, ...counts } = { ...config.everyModel, ...defined(own) };
  return {
    ...counts,
    idleMs: idleMinutes * MINUTE_MS,
    stabiliseMs: stabiliseMinutes * MINUTE_MS,
  };
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

function defined<T extends object>(record: T): Defined<T> {
  const told = Object.entries(record).filter(([, value]) => value !== undefined);
  return Object.fromEntries(told) as Defined<T>;
}
