// A model that knows one endless completion and tells it token by token at a set pace. Each edge
// tells the same one, so that a stream which moved can be checked against it.
import { create } from "@bufbuild/protobuf";
import { Fault } from "../../proto/fault.ts";
import {
  EmbedResponseSchema,
  FinishReason,
  type GenerateRequest,
  GenerateResponseSchema,
  type ModelInfo,
  ModelInfoSchema,
  ScoreResponseSchema,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { CallContext, InferenceBackend, OnEvent } from "../../runtime/inference/backend.ts";

export interface PacedBackendOptions {
  readonly edge: string;
  readonly region?: string;
  readonly model?: string;
  /** Between two tokens; 0 makes one in each turn of the event loop. */
  readonly intervalMs?: number;
  /** Completions at once; more are refused as overloaded. */
  readonly slots?: number;
}

export interface PacedBackend extends InferenceBackend {
  readonly active: number;
  /** Contexts of all the calls taken, in order. */
  readonly taken: readonly { request: GenerateRequest; context: CallContext }[];
  /** Every call from now on fails with this; null mends it. */
  failWith(fault: Fault | null): void;
}

const DEFAULT_TOKENS = 16;

export const pacedId = (index: number): number => (index * 7919 + 13) % 32_000;
export const pacedText = (index: number): string => (index % 5 === 3 ? "" : `${index % 10}é`);

/** What a caller must have got after `count` tokens. */
export function pacedTruth(count: number): { ids: number[]; text: string } {
  const indices = Array.from({ length: count }, (_, index) => index);
  return { ids: indices.map(pacedId), text: indices.map(pacedText).join("") };
}

export function pacedBackend(options: PacedBackendOptions): PacedBackend {
  const { edge, region = "us", model = "m", intervalMs = 0, slots = Infinity } = options;
  const taken: { request: GenerateRequest; context: CallContext }[] = [];
  let active = 0;
  let fault: Fault | null = null;

  async function tell(request: GenerateRequest, context: CallContext, onEvent: OnEvent) {
    onEvent(
      create(GenerateResponseSchema, {
        event: {
          case: "started",
          value: { model, version: `${model}@1`, edge, region, promptTokens: 4 },
        },
      }),
    );
    const count = request.maxTokens || DEFAULT_TOKENS;
    for (let index = request.resume?.ids.length ?? 0; index < count; index += 1) {
      await pause(intervalMs);
      if (context.signal.aborted) throw new Fault("cancelled", "aborted");
      if (fault !== null) throw fault;
      const value = { index, ids: [pacedId(index)], text: pacedText(index) };
      onEvent(create(GenerateResponseSchema, { event: { case: "tokens", value } }));
    }
    const value = { reason: FinishReason.LENGTH, completionTokens: count, promptTokens: 4 };
    onEvent(create(GenerateResponseSchema, { event: { case: "finished", value } }));
  }

  return {
    get active() {
      return active;
    },
    taken,
    failWith(next) {
      fault = next;
    },
    async generate(request, context, onEvent) {
      taken.push({ request, context });
      if (fault !== null) throw fault;
      if (active >= slots) throw new Fault("overloaded", "no slot", { retryAfterMs: 50 });
      active += 1;
      try {
        await tell(request, context, onEvent);
      } finally {
        active -= 1;
      }
    },
    async embed(request) {
      if (fault !== null) throw fault;
      const embeddings = request.inputs.map((input) => ({ values: [input.length, 1] }));
      return create(EmbedResponseSchema, { embeddings, model, edge, promptTokens: 1 });
    },
    async score(request) {
      if (fault !== null) throw fault;
      return create(ScoreResponseSchema, { edge, scores: request.ids.map(() => ({ gap: 0 })) });
    },
    listModels(): ModelInfo[] {
      return [create(ModelInfoSchema, { id: model, version: `${model}@1`, contextLength: 512 })];
    },
  };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    if (ms === 0) setImmediate(resolve);
    else setTimeout(resolve, ms);
  });
}
