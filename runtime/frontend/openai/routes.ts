// The OpenAI-compatible HTTP interface over an InferenceBackend.
import { randomUUID } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import type { HttpBindings } from "@hono/node-server";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { type Context, Hono } from "hono";
import { asFault, Fault } from "../../../proto/fault.ts";
import type { ModelInfo } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import type { CallContext } from "../../inference/backend.ts";
import { type CompletionMeter, createCompletionMeter } from "../completion-meter.ts";
import type { FrontendOptions } from "../frontend-options.ts";
import { chatPlan } from "./chat-request.ts";
import { createAnswerGatherer } from "./completion-answer.ts";
import type { CompletionPlan } from "./completion-plan.ts";
import { callerAbort, runChoices } from "./completion-run.ts";
import { type CompletionShape, chatShape, textShape } from "./completion-shape.ts";
import { createCompletionStream } from "./completion-stream.ts";
import { embeddingsAnswer, embeddingsPlan } from "./embeddings.ts";
import { errorAnswer, RequestError } from "./error-answer.ts";
import { KEEP_ALIVE_MS, openEventStream } from "./event-stream.ts";
import { readJson } from "./json-body.ts";
import { textPlan } from "./text-request.ts";

type Env = { Bindings: HttpBindings };
type PlanOf = (json: unknown, headers: IncomingHttpHeaders) => CompletionPlan;
type Handler = (c: Context<Env>, requestId: string) => Promise<Response>;

/** Names the request in our logs; x-request-id is what the openai package shows. */
export const requestIdHeader = "x-isthmus-request-id";
const openAiRequestIdHeader = "x-request-id";

/** The routes under /v1. Requires: served by `startHttpServer`, whose response they write to. */
export function openAiRoutes(options: FrontendOptions): Hono<Env> {
  const { backend, log, metrics, clock } = options;
  const meter = createCompletionMeter("openai", metrics, clock);
  const app = new Hono<Env>();

  const answered = (handler: Handler) => async (c: Context<Env>) => {
    const requestId = randomUUID();
    try {
      const response = await handler(c, requestId);
      if (response === RESPONSE_ALREADY_SENT) return response;
      for (const [name, value] of idHeaders(requestId)) response.headers.set(name, value);
      return response;
    } catch (thrown) {
      return refusal(thrown, requestId);
    }
  };
  const refusal = (thrown: unknown, requestId: string): Response => {
    const { status, headers, body } = errorAnswer(thrown);
    if (status >= 500) log.warn({ requestId, err: thrown }, "a request failed");
    // What is left of a body that we refuse to read can't be told from the next request.
    const close = status === 413 || status === 408 ? { connection: "close" } : {};
    const all = { ...headers, ...close, ...Object.fromEntries(idHeaders(requestId)) };
    return Response.json(body, { status: status === CLIENT_GONE ? 400 : status, headers: all });
  };

  const completion = (shape: CompletionShape, planOf: PlanOf) =>
    answered(async (c, requestId) => {
      const { incoming } = c.env;
      const plan = planOf(await readJson(incoming, clock), incoming.headers);
      const request = { c, plan, shape, requestId };
      return plan.stream ? streamed(options, meter, request) : whole(options, meter, request);
    });

  app.post("/v1/chat/completions", completion(chatShape, chatPlan));
  app.post("/v1/completions", completion(textShape, textPlan));
  app.post(
    "/v1/embeddings",
    answered(async (c, requestId) => {
      const { incoming } = c.env;
      const plan = embeddingsPlan(await readJson(incoming, clock), incoming.headers);
      const context = { ...contextOf(requestId), signal: callerAbort(c.env.outgoing).signal };
      return c.json(embeddingsAnswer(plan, await backend.embed(plan.request, context)));
    }),
  );
  app.get(
    "/v1/models",
    answered(async (c) => c.json({ object: "list", data: backend.listModels().map(modelBody) })),
  );
  app.get(
    "/v1/models/:id",
    answered(async (c) => {
      const id = c.req.param("id");
      const model = backend.listModels().find((info) => info.id === id);
      if (model === undefined) {
        throw new Fault("model-not-found", `The model '${id}' does not exist`, { param: "model" });
      }
      return c.json(modelBody(model));
    }),
  );
  for (const path of ["chat/completions", "completions", "embeddings", "models", "models/:id"]) {
    app.all(
      `/v1/${path}`,
      answered(async (c) => {
        const message = `Not allowed to ${c.req.method} on ${c.req.path}`;
        throw new RequestError(405, "method_not_supported", message);
      }),
    );
  }
  return app;
}

const CLIENT_GONE = 499;

interface CompletionRequest {
  readonly c: Context<Env>;
  readonly plan: CompletionPlan;
  readonly shape: CompletionShape;
  readonly requestId: string;
}

async function whole(
  { backend, clock }: FrontendOptions,
  meter: CompletionMeter,
  { c, plan, shape, requestId }: CompletionRequest,
): Promise<Response> {
  const gatherer = createAnswerGatherer(plan, shape);
  const abort = callerAbort(c.env.outgoing);
  await runChoices(backend, plan, contextOf(requestId), abort, meter, gatherer.take);
  return c.json(gatherer.answer(requestId, Math.floor(clock.now() / 1000)));
}

async function streamed(
  { backend, clock, log }: FrontendOptions,
  meter: CompletionMeter,
  { c, plan, shape, requestId }: CompletionRequest,
): Promise<Response> {
  const { outgoing } = c.env;
  const abort = callerAbort(outgoing);
  const begin = () =>
    openEventStream(outgoing, Object.fromEntries(idHeaders(requestId)), () => {
      log.info({ requestId }, "cut off a reader that is too slow");
      abort.abort();
    });
  const createdS = Math.floor(clock.now() / 1000);
  const stream = createCompletionStream({ plan, shape, id: requestId, createdS, begin });
  // A caller who waits that long is better told to stay than of a refusal by its status.
  const keepAlive = clock.every(KEEP_ALIVE_MS, () => stream.keepAlive());
  try {
    await runChoices(backend, plan, contextOf(requestId), abort, meter, (choice, event) =>
      stream.take(choice, event),
    );
    stream.end();
  } catch (thrown) {
    if (!stream.begun) throw thrown;
    const { code } = asFault(thrown);
    if (code !== "cancelled") log.warn({ requestId, err: thrown }, "a stream was interrupted");
    stream.fail(errorAnswer(thrown).body);
  } finally {
    keepAlive.cancel();
  }
  return RESPONSE_ALREADY_SENT;
}

function contextOf(requestId: string): Omit<CallContext, "signal"> {
  return { requestId, visitedRegions: [], deadlineMs: Infinity };
}

function idHeaders(requestId: string): readonly (readonly [string, string])[] {
  return [
    [requestIdHeader, requestId],
    [openAiRequestIdHeader, requestId],
  ];
}

function modelBody({ id, version, contextLength, architecture, created }: ModelInfo) {
  return {
    id,
    object: "model",
    created: Number(created),
    owned_by: "isthmus",
    isthmus: { version, context_length: contextLength, architecture },
  };
}
