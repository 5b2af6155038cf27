// What an edge shows on /metrics beside what its frontends count: load, rates and versions of each
// model, read at the moment of the scrape.
import type { Metrics } from "../../runtime/metrics.ts";
import type { AdmittedBackend } from "../admission/admitted-backend.ts";
import type { ServedModels } from "./served-models.ts";

const gauges = {
  isthmus_slots: "Requests of the model that run at once.",
  isthmus_concurrency_limit: "Slots that are used at present, by what streams cost each other.",
  isthmus_slots_active: "Requests of the model that run now.",
  isthmus_queue: "Requests of the model that wait for a slot.",
  isthmus_engine_tokens_generated: "Tokens generated since the engine's process started.",
  isthmus_engine_tokens_prefilled: "Prompt tokens read since the engine's process started.",
  isthmus_engine_tokens_reused: "Prompt tokens whose state was reused.",
  isthmus_engine_prefill_tokens_per_second: "Measured prefill rate.",
  isthmus_engine_decode_tokens_per_second: "Measured decode rate of one stream.",
  isthmus_engine_restarts: "Restarts of the engine's process.",
  isthmus_engine_rss_bytes: "Memory of the engine's process.",
  isthmus_engine_ready: "1 while the engine takes requests.",
} as const;

type GaugeName = keyof typeof gauges;

/** The same metrics, with gauges that are brought up to date before each scrape. */
export function withEdgeGauges(
  metrics: Metrics,
  models: ServedModels,
  admitted: AdmittedBackend,
): Metrics {
  const names = Object.keys(gauges) as GaugeName[];
  const byName = new Map(
    names.map((name) => [name, metrics.gauge({ name, help: gauges[name], labels: ["model"] })]),
  );
  const version = metrics.gauge({
    name: "isthmus_model_version",
    help: "1 for the version that is served.",
    labels: ["model", "version"],
  });
  const refresh = () => {
    version.reset();
    for (const gauge of byName.values()) gauge.reset();
    for (const model of models.models()) {
      const active = models.active(model);
      if (active === undefined) continue;
      version.set({ model, version: active.version }, 1);
      for (const [name, value] of Object.entries(valuesOf(model, active.engine, admitted))) {
        byName.get(name as GaugeName)?.set({ model }, value);
      }
    }
  };
  return {
    ...metrics,
    text: () => {
      refresh();
      return metrics.text();
    },
  };
}

function valuesOf(
  model: string,
  engine: NonNullable<ReturnType<ServedModels["active"]>>["engine"],
  admitted: AdmittedBackend,
): Record<GaugeName, number> {
  const load = admitted.loadOf(model);
  const stats = engine.stats();
  return {
    isthmus_slots: load.slots,
    isthmus_concurrency_limit: load.limit,
    isthmus_slots_active: load.active,
    isthmus_queue: load.queued,
    isthmus_engine_tokens_generated: stats.tokensGenerated,
    isthmus_engine_tokens_prefilled: stats.tokensPrefilled,
    isthmus_engine_tokens_reused: stats.tokensReused,
    isthmus_engine_prefill_tokens_per_second: stats.prefillTokensPerSecond,
    isthmus_engine_decode_tokens_per_second: stats.decodeTokensPerSecondPerStream,
    isthmus_engine_restarts: stats.restarts,
    isthmus_engine_rss_bytes: stats.rssBytes,
    isthmus_engine_ready: engine.state === "ready" ? 1 : 0,
  };
}
