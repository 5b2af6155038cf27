// Serves streams that survive their node, over any source of candidates.
import type { Fault } from "../../proto/fault.ts";
import type { GenerateRequest } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { Clock, Timer } from "../clock.ts";
import type { CallContext, OnEvent } from "../inference/backend.ts";
import type { PickCandidate } from "./candidate.ts";
import { RunningStream } from "./running-stream.ts";
import { type ContinuationBounds, defaultBounds } from "./stream-state.ts";

export interface ContinuationOptions {
  readonly pick: PickCandidate;
  readonly clock: Clock;
  readonly bounds?: ContinuationBounds;
  /** Told each time a stream that had begun leaves a candidate; for logs and metrics. */
  readonly onMove?: (key: string, fault: Fault) => void;
  /** Told each time a second candidate is started because the first is late. */
  readonly onHedge?: (key: string) => void;
}

export interface Continuation {
  /** As in InferenceBackend: settles once, after at most one `started` and one `finished`. */
  generate(request: GenerateRequest, context: CallContext, onEvent: OnEvent): Promise<void>;
  /** Cuts every stream that the candidate serves now; each resumes elsewhere at once. */
  moveAway(key: string, reason: string): void;
  /** Streams that have not settled. */
  readonly active: number;
}

export function createContinuation(options: ContinuationOptions): Continuation {
  const { clock, bounds = defaultBounds } = options;
  const running = new Set<RunningStream>();
  let ticker: Timer | null = null;
  const tick = () => {
    for (const stream of [...running]) stream.take({ kind: "tick" });
  };
  return {
    get active() {
      return running.size;
    },
    generate(request, context, onEvent) {
      return new Promise<void>((resolve, reject) => {
        const onSettled = (fault: Fault | null) => {
          running.delete(stream);
          if (running.size === 0) {
            ticker?.cancel();
            ticker = null;
          }
          if (fault === null) resolve();
          else reject(fault);
        };
        const call = { request, context, onEvent, onSettled };
        const stream = new RunningStream({ ...options, bounds }, call);
        running.add(stream);
        ticker ??= clock.every(bounds.silence.tickMs, tick);
        stream.begin();
      });
    },
    moveAway(key, reason) {
      for (const stream of [...running]) stream.take({ kind: "move-away", key, reason });
    },
  };
}
