// What the catalogue remembers of a model and of each of its versions, as it is stored and shown.
import { create } from "@bufbuild/protobuf";
import { z } from "zod";
import {
  type Artifact,
  ArtifactSchema,
  type ModelVersion,
  ModelVersionSchema,
} from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import { modelPattern, sha256Pattern } from "../../proto/ids.ts";

const FILE_NAME_MAX = 255;

/** 64-bit numbers are text in protobuf's JSON. */
const uint64TextSchema = z
  .string()
  .regex(/^[1-9]\d{0,14}$/)
  .transform(Number);

export const artifactRefSchema = z.strictObject({
  sha256: z.string().regex(sha256Pattern),
  bytes: z.union([z.int().min(1), uint64TextSchema]),
  name: z.string().min(1).max(FILE_NAME_MAX),
});
export type ArtifactRef = z.infer<typeof artifactRefSchema>;

export const adapterRefSchema = z.strictObject({
  artifact: artifactRefSchema,
  scale: z.number(),
});

export const modelNameSchema = z.string().regex(modelPattern);

/** How often completions equalled the expected text on one set, exactly as served. */
export const evaluationSchema = z.strictObject({
  /** Name of the data, e.g. home or a dialect. */
  dataset: z.string(),
  /** Whether it is the model's public set; else edges' private ones of that name. */
  public: z.boolean(),
  examples: z.int().min(0),
  exact: z.int().min(0),
  /** Edges that evaluated, sorted. */
  edges: z.array(z.string()),
  /** Of each such edge, for private sets. */
  counts: z
    .array(z.strictObject({ edge: z.string(), examples: z.int().min(0), exact: z.int().min(0) }))
    .default([]),
});
export type Evaluation = z.infer<typeof evaluationSchema>;

/** What training goes on from: the global adapter in f32, and its shape. */
export const trainingStateSchema = z.strictObject({
  state: artifactRefSchema,
  rank: z.int().min(1),
  alpha: z.number(),
  /** What the server's optimizer carries to the next round. */
  optimizer: artifactRefSchema.nullable().default(null),
});
export type TrainingState = z.infer<typeof trainingStateSchema>;

const originSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("published") }),
  z.strictObject({
    kind: z.literal("round"),
    campaign: z.string(),
    round: z.int().min(1),
    /** `<region>/<edge>` of everyone whose delta is in it, sorted. */
    contributors: z.array(z.string()),
    /** Sum of their examples. */
    weight: z.number(),
  }),
  /** Made again from the deltas that were kept, without those of some edges. */
  z.strictObject({
    kind: z.literal("rebuilt"),
    from: z.string(),
    /** `<region>/<edge>`, sorted. */
    without: z.array(z.string()),
  }),
  /** Its adapters made part of the weights, which were then quantized. */
  z.strictObject({ kind: z.literal("merged"), from: z.string(), quantization: z.string() }),
]);
export type Origin = z.infer<typeof originSchema>;

export const verdicts = ["candidate", "accepted", "rejected"] as const;

export const versionRecordSchema = z.strictObject({
  model: modelNameSchema,
  version: z.string(),
  number: z.int().min(1),
  base: artifactRefSchema,
  adapters: z.array(adapterRefSchema),
  createdMs: z.int(),
  /** The version it was trained from. */
  parent: z.string().nullable(),
  origin: originSchema,
  training: trainingStateSchema.nullable(),
  evaluations: z.array(evaluationSchema),
  verdict: z.enum(verdicts),
  /** Why it was rejected. */
  reason: z.string(),
});
export type VersionRecord = z.infer<typeof versionRecordSchema>;

export const servedReasons = ["publish", "rollout", "rollback", "round", "promote"] as const;
export type ServedReason = (typeof servedReasons)[number];

export const modelRecordSchema = z.strictObject({
  model: modelNameSchema,
  /** How many versions there are. */
  versions: z.int().min(0),
  served: z.string().nullable(),
  /** A version that some edges serve instead, `<region>/<edge>`, while it is watched there. */
  trial: z
    .strictObject({ version: z.string(), edges: z.array(z.string()) })
    .nullable()
    .default(null),
  /** How often `served` or `trial` has changed; grows for ever, while `history` is cut. */
  changes: z.int().min(0),
  history: z.array(
    z.strictObject({ version: z.string(), atMs: z.int(), why: z.enum(servedReasons) }),
  ),
  /** Public examples that keep the base from forgetting. */
  replay: artifactRefSchema.nullable(),
  /** Public held-out examples that the gate watches. */
  heldout: artifactRefSchema.nullable(),
  /** The model in full precision, which versions are merged into. */
  master: artifactRefSchema.nullable().default(null),
});
export type ModelRecord = z.infer<typeof modelRecordSchema>;

export function artifactOf(ref: ArtifactRef): Artifact {
  return create(ArtifactSchema, { ...ref, bytes: BigInt(ref.bytes) });
}

export function modelVersionOf(record: VersionRecord): ModelVersion {
  return create(ModelVersionSchema, {
    model: record.model,
    version: record.version,
    base: artifactOf(record.base),
    adapters: record.adapters.map(({ artifact, scale }) => ({
      artifact: artifactOf(artifact),
      scale,
    })),
  });
}
