// What every frontend is given: the backend that does the work, and the means to watch it.
import type { Clock } from "../clock.ts";
import type { InferenceBackend } from "../inference/backend.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";

export interface FrontendOptions {
  readonly backend: InferenceBackend;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
}
