// An InferenceBackend that answers from a script, without timers: either by itself, a token a turn
// of the event loop, or step by step as a test tells it.
import { create } from "@bufbuild/protobuf";
import { Fault } from "../../proto/fault.ts";
import {
  type EmbedRequest,
  EmbedResponseSchema,
  FinishReason,
  type GenerateRequest,
  type GenerateResponse,
  GenerateResponseSchema,
  type ModelInfo,
  ModelInfoSchema,
  type ScoreRequest,
  ScoreResponseSchema,
  type TokenLogprob,
  TokenLogprobSchema,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { CallContext, InferenceBackend, OnEvent } from "../../runtime/inference/backend.ts";
import { type JsonSchema, schemaInstance } from "./schema-instance.ts";

export const scriptedModel = "scripted";
const VERSION = "scripted@1";
const CONTEXT_TOKENS = 512;
const EMBEDDING_LENGTH = 8;
const REPLY_PIECE = /.{1,3}/gs;

/** One generate call under a test's control. */
export interface ScriptedCall {
  readonly request: GenerateRequest;
  readonly context: CallContext;
  started(): void;
  tokens(text: string): void;
  /** Sends `finished` and resolves the call. */
  finish(): void;
  fail(fault: Fault): void;
  /** Resolves when the caller aborts. */
  readonly aborted: Promise<void>;
}

export interface ScriptedBackend extends InferenceBackend {
  /** Takes over the next generate call; it does nothing until it is told. */
  nextCall(): Promise<ScriptedCall>;
  /** The tokens of the next answers that it makes by itself. */
  reply: (request: GenerateRequest) => readonly string[];
  /** Generate calls that haven't settled. */
  readonly open: number;
  /** Every generate request so far. */
  readonly requests: readonly GenerateRequest[];
}

export function createScriptedBackend(): ScriptedBackend {
  const waiting: ((call: ScriptedCall) => void)[] = [];
  const requests: GenerateRequest[] = [];
  let open = 0;
  const backend: ScriptedBackend = {
    reply: defaultReply,
    get open() {
      return open;
    },
    requests,
    nextCall: () => new Promise((resolve) => void waiting.push(resolve)),
    async generate(request, context, onEvent) {
      requests.push(request);
      open++;
      try {
        const taker = waiting.shift();
        if (taker) return await manual(request, context, onEvent, taker);
        checkModel(request.model);
        await automatic(request, context, onEvent, backend.reply(request));
      } finally {
        open--;
      }
    },
    async embed(request: EmbedRequest) {
      checkModel(request.model);
      return create(EmbedResponseSchema, {
        embeddings: request.inputs.map((text) => ({ values: vectorOf(text) })),
        promptTokens: request.inputs.reduce((sum, text) => sum + tokensOf(text), 0),
        model: request.model,
        edge: "scripted-1",
      });
    },
    async score(request: ScoreRequest) {
      checkModel(request.model);
      const scores = request.ids.map((id) => ({ argmax: id, gap: 0 }));
      return create(ScoreResponseSchema, { scores, edge: "scripted-1" });
    },
    listModels: () => [modelInfo],
  };
  return backend;
}

const modelInfo: ModelInfo = create(ModelInfoSchema, {
  id: scriptedModel,
  version: VERSION,
  contextLength: CONTEXT_TOKENS,
  architecture: "script",
  created: 1_700_000_000n,
});

function checkModel(model: string): void {
  if (model === scriptedModel) return;
  throw new Fault("model-not-found", `The model '${model}' does not exist`, { param: "model" });
}

/** Words that depend on the seed alone. */
function defaultReply(request: GenerateRequest): readonly string[] {
  const kind = request.constraint?.kind;
  if (kind?.case === "jsonSchema") {
    return (
      JSON.stringify(schemaInstance(JSON.parse(kind.value) as JsonSchema)).match(REPLY_PIECE) ?? []
    );
  }
  if (kind?.case !== undefined) return ["{", "}"];
  const seed = request.sampling?.seed ?? 0;
  return Array.from({ length: 24 }, (_, at) => ` w${(seed + at * 7) % 97}`);
}

async function automatic(
  request: GenerateRequest,
  context: CallContext,
  onEvent: OnEvent,
  reply: readonly string[],
): Promise<void> {
  const promptTokens = tokensOf(promptText(request));
  if (promptTokens > CONTEXT_TOKENS) {
    const message = `The prompt has ${promptTokens} tokens, the context ${CONTEXT_TOKENS}`;
    throw new Fault("context-length-exceeded", message, { param: "messages" });
  }
  onEvent(startedEvent(request, promptTokens));
  const max = request.maxTokens || CONTEXT_TOKENS;
  const textLength = lengthBeforeStop(reply.slice(0, max).join(""), request.stop);
  let sentLength = 0;
  let count = 0;
  for (const word of reply.slice(0, max)) {
    if (sentLength >= textLength) break;
    await new Promise((resolve) => setImmediate(resolve));
    if (context.signal.aborted) throw new Fault("cancelled", "The caller is gone");
    const text = word.slice(0, textLength - sentLength);
    onEvent(tokensEvent(request, count++, text));
    sentLength += text.length;
  }
  const reason = count === max ? FinishReason.LENGTH : FinishReason.STOP;
  onEvent(finishedEvent(reason, promptTokens, count));
}

function manual(
  request: GenerateRequest,
  context: CallContext,
  onEvent: OnEvent,
  taker: (call: ScriptedCall) => void,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let index = 0;
  const aborted = new Promise<void>((told) => {
    context.signal.addEventListener("abort", () => {
      told();
      reject(new Fault("cancelled", "The caller is gone"));
    });
  });
  taker({
    request,
    context,
    aborted,
    started: () => onEvent(startedEvent(request, 1)),
    tokens: (text) => onEvent(tokensEvent(request, index++, text)),
    finish() {
      onEvent(finishedEvent(FinishReason.STOP, 1, index));
      resolve();
    },
    fail: reject,
  });
  return promise;
}

/** How much of the text comes before the first stop sequence. */
function lengthBeforeStop(text: string, stops: readonly string[]): number {
  const found = stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
  return Math.min(text.length, ...found);
}

function startedEvent(request: GenerateRequest, promptTokens: number): GenerateResponse {
  const value = { model: request.model, version: VERSION, edge: "scripted-1", region: "test" };
  return create(GenerateResponseSchema, {
    event: { case: "started", value: { ...value, promptTokens } },
  });
}

function tokensEvent(request: GenerateRequest, index: number, text: string): GenerateResponse {
  const logprobs = request.topLogprobs === undefined ? [] : [logprobOf(text, request.topLogprobs)];
  return create(GenerateResponseSchema, {
    event: { case: "tokens", value: { index, ids: [index], text, logprobs } },
  });
}

function finishedEvent(reason: FinishReason, promptTokens: number, completionTokens: number) {
  return create(GenerateResponseSchema, {
    event: { case: "finished", value: { reason, promptTokens, completionTokens } },
  });
}

function logprobOf(text: string, top: number): TokenLogprob {
  return create(TokenLogprobSchema, {
    text,
    logprob: -0.25,
    top: Array.from({ length: top }, (_, at) => ({ id: at, text: `t${at}`, logprob: -1 - at })),
  });
}

function promptText({ prompt }: GenerateRequest): string {
  if (prompt.case === "text") return prompt.value;
  if (prompt.case === "chat") return prompt.value.messages.map((m) => m.content).join(" ");
  return prompt.value?.ids.join(" ") ?? "";
}

function tokensOf(text: string): number {
  return Math.max(1, text.split(/\s+/).length);
}

/** Any vector that is a function of the text. */
function vectorOf(text: string): number[] {
  return Array.from({ length: EMBEDDING_LENGTH }, (_, at) =>
    Math.fround(((text.length * (at + 3) + (text.codePointAt(0) ?? 0)) % 17) / 17),
  );
}
