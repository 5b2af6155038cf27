// Runs the choices of one completion request side by side and tells their events.
import type { ServerResponse } from "node:http";
import { asFault } from "../../../proto/fault.ts";
import type { GenerateResponse } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import type { CallContext, InferenceBackend } from "../../inference/backend.ts";
import type { CompletionMeter } from "../completion-meter.ts";
import { toolRefusal } from "./chat-tools.ts";
import type { CompletionPlan } from "./completion-plan.ts";

/** Aborted when the caller hangs up before the answer is complete, or by whoever gives up. */
export function callerAbort(outgoing: ServerResponse): AbortController {
  const controller = new AbortController();
  outgoing.on("close", () => {
    if (!outgoing.writableFinished) controller.abort();
  });
  return controller;
}

/**
 * Resolves when every choice is finished. When one fails, the others are aborted and it rejects;
 * no event is told after that.
 */
export async function runChoices(
  backend: InferenceBackend,
  plan: CompletionPlan,
  context: Omit<CallContext, "signal">,
  abort: AbortController,
  meter: CompletionMeter,
  onEvent: (choice: number, event: GenerateResponse) => void,
): Promise<void> {
  let settled = false;
  const runs = plan.requests.map(async (request, choice) => {
    const probe = meter.begin();
    try {
      await backend.generate(request, { ...context, choice, signal: abort.signal }, (event) => {
        if (settled) return;
        if (event.event.case === "tokens") probe.tokens(event.event.value.ids.length);
        onEvent(choice, event);
      });
      probe.end("ok");
    } catch (thrown) {
      probe.end(asFault(thrown).code);
      throw thrown;
    }
  });
  try {
    await Promise.all(runs);
  } catch (thrown) {
    abort.abort();
    throw toolRefusal(thrown, plan.tools);
  } finally {
    settled = true;
  }
}
