// The configuration of a region: what its file may say, and what holds when it doesn't.
import { z } from "zod";
import { namePattern, type RegionId } from "../proto/ids.ts";
import { scalingSchema } from "./scaling/scaling-rules.ts";

const PORT_MAX = 65_535;
const JURISDICTIONS_MAX = 32;
const POLICY_NAMES_MAX = 64;
const IN_FLIGHT_MAX = 100_000;

const regionName = z
  .string()
  .regex(namePattern, "must be 1 to 63 of a-z, 0-9 and inner hyphens")
  .transform((text) => text as RegionId);
const httpAddress = z.string().regex(/^http:\/\/[^/]+$/, "must be http://host:port");
const grpcAddress = z.string().regex(/^[^/]+:\d+$/, "must be host:port");

const label = z.string().regex(namePattern, "must be 1 to 63 of a-z, 0-9 and inner hyphens");

const policy = z.strictObject({
  /** Only these regions may serve; none for any. */
  regions: z.array(regionName).max(POLICY_NAMES_MAX).default([]),
  /** Only regions with one of these labels may; none for any. */
  jurisdictions: z.array(label).max(POLICY_NAMES_MAX).default([]),
  gpuRequired: z.boolean().default(false),
  hedge: z.boolean().default(false),
  /** What a gram of CO2e, and a unit of cost, is worth in waiting. */
  msPerGram: z.number().min(0).default(0),
  msPerCost: z.number().min(0).default(0),
});

const listener = z
  .strictObject({
    host: z.string().min(1).default("127.0.0.1"),
    port: z.int().min(0).max(PORT_MAX).default(0),
  })
  .prefault({});

export const regionConfigSchema = z.strictObject({
  name: regionName,
  /**
   * Which of the region's coordinators this is, where it runs as a pair: each has another name, and
   * all have the same `dir`. One without is "a", and takes it that it is alone.
   */
  instance: z
    .string()
    .regex(/^[a-z0-9]{1,16}$/, "must be 1 to 16 of a-z and 0-9")
    .optional(),
  /** Everything that this region keeps; the instances of a region share it. */
  dir: z.string().min(1),
  http: listener,
  grpc: listener,
  /** Where others reach this region, if that isn't where it listens. */
  advertise: z
    .strictObject({ http: httpAddress.optional(), grpc: grpcAddress.optional() })
    .prefault({}),
  /** Where the other instances reach this one, if that isn't where it listens. */
  own: z.strictObject({ http: httpAddress.optional(), grpc: grpcAddress.optional() }).prefault({}),
  nats: z.array(z.string().min(1)).min(1),
  /** JetStream domain of the region's own server; the region's name when left out. */
  natsDomain: z.string().regex(namePattern).optional(),
  coordinator: z.strictObject({ http: httpAddress }),
  /** Other regions, beyond those that tell of themselves. */
  peers: z
    .array(
      z.strictObject({
        region: regionName,
        http: httpAddress,
        grpc: grpcAddress,
        /** Reach it there whatever it says itself: by a way that is ours alone. */
        fixed: z.boolean().default(false),
      }),
    )
    .default([]),
  /** What an operator says of this region; told to everybody. */
  labels: z
    .strictObject({
      /** Legal regimes that hold here, e.g. gdpr. */
      jurisdictions: z.array(label).max(JURISDICTIONS_MAX).default([]),
      /** Of the power that its edges draw; 0 when nobody knows. */
      gramsCo2PerKwh: z.number().min(0).default(0),
    })
    .prefault({}),
  /** Added to the policy of each request: the stricter residency wins. */
  policies: z
    .strictObject({
      everybody: policy.prefault({}),
      tenants: z.record(z.string().min(1), policy).default({}),
      models: z.record(z.string().min(1), policy).default({}),
    })
    .prefault({}),
  /** How long the deltas of rounds that are over are kept, so that edges can be taken out again. */
  deltas: z
    .strictObject({
      keepDays: z.number().min(0).max(3650).default(30),
      keepBytes: z
        .int()
        .min(0)
        .default(32 * 2 ** 30),
    })
    .prefault({}),
  /** How many edges models should have, and what becomes of requests while they have none. */
  scaling: scalingSchema,
  /** Streams through the gateway at once. */
  inFlightMax: z.int().min(1).max(IN_FLIGHT_MAX).default(4096),
});

export type RegionConfig = Readonly<z.infer<typeof regionConfigSchema>>;
