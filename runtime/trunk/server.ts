// The gRPC service of trunks: each call is one session over the role's backend.
import { Fault } from "../../proto/fault.ts";
import { type OpenRequest, Trunk } from "../../proto/gen/isthmus/v1/trunk_pb.ts";
import type { Clock } from "../clock.ts";
import { type BoundService, bindService } from "../grpc/bridge.ts";
import type { InferenceBackend } from "../inference/backend.ts";
import type { Log } from "../log.ts";
import { CLIENT_SILENT_TICKS_MAX, CLIENT_TICK_MS } from "./bounds.ts";
import { TrunkSession } from "./trunk-session.ts";

export interface TrunkServiceOptions {
  readonly clock: Clock;
  readonly log: Log;
}

/** Serves completions to peers over trunks. Hand the result to `startGrpcServer`. */
export function trunkService(
  backend: InferenceBackend,
  options: TrunkServiceOptions,
): BoundService {
  const { clock, log } = options;
  return bindService(Trunk, {
    open(call, scope) {
      const session = new TrunkSession({ backend, write: (response) => call.write(response) });
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      let silentTicks = 0;
      const watchdog = clock.every(CLIENT_TICK_MS, () => {
        silentTicks += 1;
        if (silentTicks <= CLIENT_SILENT_TICKS_MAX) return;
        log.warn({ peer: scope.peer, inFlight: session.inFlight }, "a trunk's client is silent");
        reject(new Fault("link-lost", "the client of this trunk is silent"));
      });
      call.on("data", (request: OpenRequest) => {
        silentTicks = 0;
        if (request.message.case === "hello") {
          const { peer, role, region } = request.message.value;
          log.debug({ peer, role, region }, "trunk opened");
        } else session.take(request);
      });
      call.on("drain", () => session.drained());
      call.on("end", () => resolve());
      call.on("error", () => resolve());
      scope.signal.addEventListener("abort", () => resolve(), { once: true });
      return promise.finally(() => {
        watchdog.cancel();
        session.close();
      });
    },
  });
}
