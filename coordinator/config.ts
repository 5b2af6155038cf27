// The coordinator's configuration: one schema, read once.
import { z } from "zod";
import { namePattern } from "../proto/ids.ts";

const regionName = z.string().regex(namePattern);

const listenSchema = z.strictObject({
  host: z.string().default("127.0.0.1"),
  /** 0 takes a free one. */
  port: z.int().min(0).max(65_535).default(0),
});

export const coordinatorConfigSchema = z.strictObject({
  name: z.string().regex(namePattern).default("coordinator"),
  /** Records and artifacts live here. */
  dir: z.string().min(1),
  http: listenSchema.default({ host: "127.0.0.1", port: 0 }),
  /** Health and reflection for whoever watches by gRPC; left out, there is none. */
  grpc: listenSchema.optional(),
  /** nats:// addresses, the nearest first. */
  nats: z.array(z.string().min(1)).min(1),
  /** JetStream domain that keeps the records. */
  natsDomain: z.string().regex(namePattern).default("central"),
  /** Regions that take part in rounds. */
  regions: z.array(regionName).default([]),
  /** Most bytes of artifacts to keep; what versions refer to is never dropped. */
  artifactBytesMax: z
    .int()
    .positive()
    .default(256 * 2 ** 30),
  /** Largest artifact taken from a caller. */
  uploadBytesMax: z
    .int()
    .positive()
    .default(64 * 2 ** 30),
});

export type CoordinatorConfig = z.infer<typeof coordinatorConfigSchema>;
