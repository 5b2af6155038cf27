// The configuration of a load generator: where its callers are, and how hard they press.
import { z } from "zod";
import { namePattern } from "../../proto/ids.ts";

const CALLERS_MAX = 256;
const STREAMS_MAX = 1_000_000;
const SEEDS_MAX = 64;
const PAUSE_MAX_MS = 60_000;

export const loadConfigSchema = z.strictObject({
  /** The region that the callers are in. */
  region: z.string().regex(namePattern),
  /** host:port of gRPC doors that the SDK's callers learn the mesh from. */
  seeds: z
    .array(z.string().regex(/^[^/\s]+:\d+$/))
    .min(1)
    .max(SEEDS_MAX),
  /** The gateway of those that know nothing but OpenAI's HTTP. */
  http: z.string().regex(/^http:\/\/[^/]+$/, "must be http://host:port"),
  sdkCallers: z.int().min(0).max(CALLERS_MAX).default(3),
  httpCallers: z.int().min(0).max(CALLERS_MAX).default(1),
  /** Of each caller; without, they go on until they are told to stop. */
  streamsMax: z.int().min(1).max(STREAMS_MAX).optional(),
  /** Between two streams of one caller, on average. */
  pauseMs: z.number().min(1).max(PAUSE_MAX_MS).default(300),
  /** What every random choice follows from. */
  seed: z.int().min(0).default(1),
});

export type LoadConfig = z.infer<typeof loadConfigSchema>;
