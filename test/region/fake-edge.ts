// An edge as its region sees it: a real gRPC server with a trunk, and heartbeats; behind them a
// backend that the test holds.

import { toBinary } from "@bufbuild/protobuf";
import { HeartbeatSchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import { edgeId, regionId } from "../../proto/ids.ts";
import { subjects } from "../../proto/subjects.ts";
import { systemClock } from "../../runtime/clock.ts";
import { inferenceService } from "../../runtime/frontend/grpc-inference.ts";
import { startGrpcServer } from "../../runtime/grpc/server.ts";
import { silentLog } from "../../runtime/log.ts";
import { createMetrics } from "../../runtime/metrics.ts";
import { trunkService } from "../../runtime/trunk/server.ts";
import {
  type PacedBackend,
  type PacedBackendOptions,
  pacedBackend,
} from "../support/paced-backend.ts";
import { type HeartbeatFields, heartbeatOf, modelState } from "./heartbeat-maker.ts";

const BEAT_MS = 200;

export type Publish = (subject: string, body: Uint8Array) => void;

export interface FakeEdge {
  readonly name: string;
  readonly port: number;
  readonly backend: PacedBackend;
  /** Overrides the heartbeat from now on, and beats at once. */
  say(init: HeartbeatFields): void;
  /** Its process is gone: no server, no heartbeat. */
  kill(): Promise<void>;
}

/** Beats on behalf of an edge until the returned function is called. */
export function beatFor(
  name: string,
  region: string,
  publish: Publish,
  init: () => HeartbeatFields,
): { beat(): void; stop(): void } {
  const incarnation = BigInt(systemClock.now());
  let sequence = 0;
  const subject = subjects.heartbeat(regionId(region), edgeId(name));
  const beat = () => {
    sequence += 1;
    const heartbeat = heartbeatOf(name, sequence, { region, incarnation, ...init() });
    publish(subject, toBinary(HeartbeatSchema, heartbeat));
  };
  const timer = systemClock.every(BEAT_MS, beat);
  beat();
  return { beat, stop: () => timer.cancel() };
}

export async function startFakeEdge(
  name: string,
  region: string,
  publish: Publish,
  options: Partial<PacedBackendOptions> = {},
): Promise<FakeEdge> {
  const log = silentLog();
  const clock = systemClock;
  const backend = pacedBackend({ edge: name, region, intervalMs: 5, ...options });
  const services = [
    trunkService(backend, { clock, log }),
    inferenceService({ backend, log, metrics: createMetrics({}), clock }),
  ];
  const server = await startGrpcServer({ host: "127.0.0.1", port: 0, services, log });
  let said: HeartbeatFields = {};
  const beats = beatFor(name, region, publish, () => ({
    grpc: `127.0.0.1:${server.port}`,
    models: [modelState({ active: backend.active, model: options.model ?? "m" })],
    ...said,
  }));
  return {
    name,
    port: server.port,
    backend,
    say(init) {
      said = { ...said, ...init };
      beats.beat();
    },
    async kill() {
      beats.stop();
      server.server.forceShutdown();
    },
  };
}
