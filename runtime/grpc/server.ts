// The gRPC server of a role: our services with the measured settings, plus health and reflection.
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { HealthImplementation } from "grpc-health-check";
import { systemClock } from "../clock.ts";
import type { Log } from "../log.ts";
import type { BoundService } from "./bridge.ts";
import { FLOW_CONTROL_WINDOW_BYTES } from "./channel.ts";
import { addReflection } from "./reflection.ts";

export interface GrpcServerOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly services: readonly BoundService[];
  readonly log: Log;
}

export interface GrpcServer {
  readonly port: number;
  readonly server: Server;
  /** Health answers NOT_SERVING from now on. Tell routing first: calls are still taken. */
  drain(): void;
  /** Refuses new calls, lets open ones finish for `graceMs` (default 0), then ends them. */
  stop(graceMs?: number): Promise<void>;
}

/** Largest request: what HTTP takes (1 MiB) must still fit when it travels on as protobuf. */
export const REQUEST_BYTES_MAX = 2 << 20;
/** Also reaps sockets that connect and never speak. */
const CONNECTION_IDLE_MS = 30_000;
const CONCURRENT_STREAMS_MAX = 1000;
/**
 * Cancels that one connection may make at once, and per second after that. Node's own limit (1000
 * and 33) ends a gateway's whole connection when its callers hang up quickly; none at all would
 * bring the rapid-reset attack back.
 */
const RESETS_BURST = 20_000;
const RESETS_PER_S = 2000;

/** Starts to listen. Faults: rejects when the port is taken. */
export async function startGrpcServer(options: GrpcServerOptions): Promise<GrpcServer> {
  const { host, port, services, log } = options;
  const server = new Server({
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 5000,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc-node.flow_control_window": FLOW_CONTROL_WINDOW_BYTES,
    "grpc.max_concurrent_streams": CONCURRENT_STREAMS_MAX,
    "grpc.max_connection_idle_ms": CONNECTION_IDLE_MS,
    "grpc.max_receive_message_length": REQUEST_BYTES_MAX,
    "grpc.enable_channelz": 0,
  });
  raiseResetLimit(server);
  for (const { definition, handlers } of services) server.addService(definition, handlers);
  const names = services.map(({ service }) => service.typeName);
  const health = new HealthImplementation(
    Object.fromEntries(["", ...names].map((name) => [name, "SERVING"])),
  );
  health.addToServer(server);
  addReflection(
    server,
    services.map(({ service }) => service),
  );
  const boundPort = await listen(server, host, port);
  log.info({ host, port: boundPort, services: names }, "gRPC listens");
  return {
    port: boundPort,
    server,
    drain: () => {
      for (const name of ["", ...names]) health.setStatus(name, "NOT_SERVING");
    },
    stop: (graceMs = 0) => shutDown(server, graceMs),
  };
}

function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(`${host}:${port}`, ServerCredentials.createInsecure(), (error, boundPort) => {
      if (error) reject(new Error(`gRPC can't listen on ${host}:${port}: ${error.message}`));
      else resolve(boundPort);
    });
  });
}

function shutDown(server: Server, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const force = systemClock.after(graceMs, () => {
      server.forceShutdown();
      resolve();
    });
    server.tryShutdown(() => {
      force.cancel();
      resolve();
    });
  });
}

/** grpc-js has no option for it, but hands these options to http2.createServer as they are. */
function raiseResetLimit(server: Server): void {
  const { commonServerOptions } = server as unknown as { commonServerOptions: object };
  Object.assign(commonServerOptions, {
    streamResetBurst: RESETS_BURST,
    streamResetRate: RESETS_PER_S,
  });
}
