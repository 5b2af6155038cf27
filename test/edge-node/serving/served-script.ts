// An edge's serving over scripted engines, for tests: the real table of models, backend and
// admission, without a model.
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { AdmittedBackend } from "../../../edge-node/admission/admitted-backend.ts";
import { EngineBackend } from "../../../edge-node/serving/engine-backend.ts";
import { ServedModels, type ServedVersion } from "../../../edge-node/serving/served-models.ts";
import {
  type GenerateRequest,
  GenerateRequestSchema,
  type GenerateResponse,
} from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import type { Clock } from "../../../runtime/clock.ts";
import { systemClock } from "../../../runtime/clock.ts";
import type { CallContext } from "../../../runtime/inference/backend.ts";
import { ScriptedEngine, type ScriptedEngineOptions } from "../engine/scripted-engine.ts";

export interface ServedScriptOptions extends ScriptedEngineOptions {
  readonly queueMax?: number;
  readonly clock?: Clock;
}

/** One model, `m`, at version `m@1`. */
export function serveScript(options: ServedScriptOptions = {}) {
  const engine = new ScriptedEngine({ version: "v1", ...options });
  const models = new ServedModels();
  const version = servedVersion(engine, "m@1", "v1");
  models.activate(version);
  const clock = options.clock ?? systemClock;
  const engines = new EngineBackend({ models, edge: "us-1", region: "us", clock });
  const admitted = new AdmittedBackend({
    backend: engines,
    slotsOf: (model) => models.slotsOf(model),
    queueMax: options.queueMax ?? 8,
    clock,
  });
  return { engine, models, version, engines, admitted };
}

export function servedVersion(
  engine: ScriptedEngine,
  version: string,
  engineVersion: string,
): ServedVersion {
  return { model: "m", version, engine, engineVersion, openedMs: 1_700_000_000_000 };
}

export function request(init: MessageInitShape<typeof GenerateRequestSchema> = {}) {
  return create(GenerateRequestSchema, {
    model: "m",
    prompt: { case: "text", value: "hello" },
    maxTokens: 5,
    ...init,
  });
}

export function context(init: Partial<CallContext> = {}): CallContext {
  return {
    signal: new AbortController().signal,
    requestId: "test",
    visitedRegions: [],
    deadlineMs: Number.POSITIVE_INFINITY,
    ...init,
  };
}

/** Runs one completion to its end and gathers what was said. */
export async function complete(
  backend: {
    generate(
      request: GenerateRequest,
      context: CallContext,
      onEvent: (event: GenerateResponse) => void,
    ): Promise<void>;
  },
  asked: GenerateRequest = request(),
  around: CallContext = context(),
) {
  const events: GenerateResponse[] = [];
  await backend.generate(asked, around, (event) => events.push(event));
  return summary(events);
}

export function summary(events: readonly GenerateResponse[]) {
  const ids: number[] = [];
  let text = "";
  for (const { event } of events) {
    if (event.case === "tokens") {
      if (event.value.index !== ids.length) throw new Error("a gap or an overlap");
      ids.push(...event.value.ids);
    }
    if (event.case === "tokens" || event.case === "finished") text += event.value.text;
  }
  const started = events.find(({ event }) => event.case === "started")?.event.value;
  const finished = events.find(({ event }) => event.case === "finished")?.event.value;
  return { events, ids, text, started, finished };
}
