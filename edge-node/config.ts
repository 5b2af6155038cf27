// The configuration of an edge: what its file may say, and what holds when it doesn't.
import { availableParallelism } from "node:os";
import { z } from "zod";
import { type EdgeId, modelPattern, namePattern, type RegionId } from "../proto/ids.ts";
import { DRIFT_THRESHOLD } from "./drift/divergence.ts";

const SLOTS_MAX = 256;
const CONTEXT_MAX = 1 << 20;
const THREADS_MAX = 1024;
const QUEUE_MAX = 4096;
const PORT_MAX = 65_535;
const JURISDICTIONS_MAX = 16;
const LABEL_LENGTH_MAX = 64;
const COMMAND_WORDS_MAX = 64;
const RANK_MAX = 256;
/** Below this, a round would wait for ever for a busy edge. */
const TRAINING_SHARE_MIN = 0.01;
const EXAMPLES_MAX = 1_000_000;
const EXAMPLE_BYTES_MAX = 2 ** 32;
const AGE_DAYS_MAX = 36_500;
const REMEMBER_MINUTES_MAX = 24 * 60;
const DRIFT_INPUTS_MAX = 16_384;

const name = z.string().regex(namePattern, "must be 1 to 63 of a-z, 0-9 and inner hyphens");
const model = z.string().regex(modelPattern, "isn't a model's name");
const label = z.string().min(1).max(LABEL_LENGTH_MAX);
const filePath = z.string().min(1);
const httpAddress = z.string().regex(/^http:\/\/[^/]+$/, "must be http://host:port");
const grpcAddress = z.string().regex(/^[^/]+:\d+$/, "must be host:port");

const listener = z
  .strictObject({
    host: z.string().min(1).default("127.0.0.1"),
    port: z.int().min(0).max(PORT_MAX).default(0),
  })
  .prefault({});

// llama.cpp's threads spin at its barriers: one core stays free for everything else.
const threads = z
  .int()
  .min(1)
  .max(THREADS_MAX)
  .default(Math.max(1, availableParallelism() - 1));

const engine = z
  .strictObject({
    slots: z.int().min(1).max(SLOTS_MAX).default(8),
    contextSize: z.int().min(64).max(CONTEXT_MAX).default(1024),
    threads,
    /** Whether to use a GPU that is there. */
    gpu: z.boolean().default(false),
  })
  .prefault({});

const examples = z.strictObject({
  name: z.string().min(1),
  train: filePath,
  heldout: filePath.optional(),
});

/** What callers and the operator give this edge to learn from, within these bounds. */
const keptExamples = z
  .strictObject({
    entriesMax: z.int().min(1).max(EXAMPLES_MAX).default(100_000),
    bytesMax: z
      .int()
      .min(1 << 10)
      .max(EXAMPLE_BYTES_MAX)
      .default(256 << 20),
    ageDaysMax: z.number().positive().max(AGE_DAYS_MAX).default(180),
    /** How long feedback may name a completion. */
    rememberMinutes: z.number().positive().max(REMEMBER_MINUTES_MAX).default(60),
  })
  .prefault({});

/** When recent inputs count as far from what this edge has trained on. */
const drift = z
  .strictObject({
    /** Jensen-Shannon divergence in bits, 0 to 1. */
    threshold: z.number().positive().max(1).default(DRIFT_THRESHOLD),
    /** Recent inputs that are compared; with fewer than `inputsMin` nothing is said. */
    inputs: z.int().min(1).max(DRIFT_INPUTS_MAX).default(256),
    inputsMin: z.int().min(1).max(DRIFT_INPUTS_MAX).default(64),
  })
  .refine(({ inputs, inputsMin }) => inputsMin <= inputs, {
    path: ["inputsMin"],
    error: "must be at most inputs",
  })
  .prefault({});

const training = z
  .strictObject({
    enabled: z.boolean().default(true),
    threads: threads.default(1),
    /** A program and its arguments that keep the trainer's contract; default: the built-in one. */
    command: z.array(z.string().min(1)).min(1).max(COMMAND_WORDS_MAX).optional(),
    /** The highest rank that this edge trains; of a higher one it trains the first components. */
    rankMax: z.int().min(1).max(RANK_MAX).optional(),
    /** Resident memory beyond which a trainer is ended; default: half of the machine's. */
    memoryMiBMax: z.int().min(1).optional(),
    /** The share of the time that training gets however busy serving is; 1 never pauses it. */
    shareWhileBusy: z.number().min(TRAINING_SHARE_MIN).max(1).default(0.2),
  })
  .prefault({});

export const edgeConfigSchema = z.strictObject({
  name: name.transform((text) => text as EdgeId),
  region: name.transform((text) => text as RegionId),
  /** Everything that this edge keeps. */
  dir: filePath,
  http: listener,
  grpc: listener,
  /** Where others reach this edge, if that isn't where it listens. */
  advertise: z
    .strictObject({ http: httpAddress.optional(), grpc: grpcAddress.optional() })
    .prefault({}),
  /** Empty for an edge on its own. */
  nats: z.array(z.string().min(1)).default([]),
  gateway: z.strictObject({ http: httpAddress, grpc: grpcAddress }).optional(),
  engine,
  /** Legal regimes that hold here; by default those that its region tells. */
  jurisdictions: z.array(label).max(JURISDICTIONS_MAX).optional(),
  /** What an operator says of this edge; told to its region. */
  labels: z
    .strictObject({
      /** Drawn while it works; 0 when nobody knows. */
      watts: z.number().min(0).default(0),
      costPerHour: z.number().min(0).default(0),
      /** May be taken away at any time: gets batch requests only. */
      preemptible: z.boolean().default(false),
    })
    .prefault({}),
  /** Requests of one model that may wait. */
  queueMax: z.int().min(0).max(QUEUE_MAX).default(32),
  training,
  examples: keptExamples,
  drift,
  /** By model: the examples that never leave this edge. */
  privateData: z.record(model, examples).default({}),
  /** Models from files here, served without anybody above. */
  models: z.array(z.strictObject({ model, path: filePath })).default([]),
});

export type EdgeConfig = z.output<typeof edgeConfigSchema>;
