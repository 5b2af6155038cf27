// Counts the completions that come by trunk, as the frontends count those of direct callers.
import { asFault } from "../../proto/fault.ts";
import type { CompletionMeter } from "../../runtime/frontend/completion-meter.ts";
import type { InferenceBackend } from "../../runtime/inference/backend.ts";

export function metered(backend: InferenceBackend, meter: CompletionMeter): InferenceBackend {
  return {
    async generate(request, context, onEvent) {
      const probe = meter.begin();
      try {
        await backend.generate(request, context, (response) => {
          if (response.event.case === "tokens") probe.tokens(response.event.value.ids.length);
          onEvent(response);
        });
        probe.end("ok");
      } catch (thrown) {
        probe.end(asFault(thrown).code);
        throw thrown;
      }
    },
    embed: (request, context) => backend.embed(request, context),
    score: (request, context) => backend.score(request, context),
    listModels: () => backend.listModels(),
  };
}
