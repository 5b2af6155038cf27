// Measures completions as callers see them, for /metrics: outcomes, time to first token, tokens.
import type { Clock } from "../clock.ts";
import type { Metrics } from "../metrics.ts";

/** Observes one completion. */
export interface CompletionProbe {
  tokens(count: number): void;
  /** Once, at the end; `outcome` is "ok" or a fault code. */
  end(outcome: string): void;
}

export interface CompletionMeter {
  begin(): CompletionProbe;
}

const TTFT_BUCKETS_S = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** Makes the meter of one frontend, e.g. "openai" or "grpc". */
export function createCompletionMeter(
  frontend: string,
  metrics: Metrics,
  clock: Clock,
): CompletionMeter {
  const requests = metrics.counter<"frontend" | "outcome">({
    name: "isthmus_completions_total",
    help: "Completions by how they ended.",
    labels: ["frontend", "outcome"],
  });
  const open = metrics.gauge<"frontend">({
    name: "isthmus_completions_open",
    help: "Completions under way.",
    labels: ["frontend"],
  });
  const tokensTotal = metrics.counter<"frontend">({
    name: "isthmus_completion_tokens_total",
    help: "Tokens delivered to callers.",
    labels: ["frontend"],
  });
  const ttft = metrics.histogram<"frontend">({
    name: "isthmus_ttft_seconds",
    help: "Time from a request to its first token.",
    labels: ["frontend"],
    buckets: TTFT_BUCKETS_S,
  });
  return {
    begin() {
      const startedMs = clock.monotonicMs();
      let delivered = 0;
      open.inc({ frontend });
      return {
        tokens(count) {
          if (delivered === 0) ttft.observe({ frontend }, (clock.monotonicMs() - startedMs) / 1000);
          delivered += count;
        },
        end(outcome) {
          open.dec({ frontend });
          tokensTotal.inc({ frontend }, delivered);
          requests.inc({ frontend, outcome });
        },
      };
    },
  };
}
