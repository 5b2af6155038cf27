// What a region tells over HTTP about itself and its routing.
import { toJson } from "@bufbuild/protobuf";
import type { HttpBindings } from "@hono/node-server";
import { Hono } from "hono";
import { Fault } from "../../proto/fault.ts";
import { type RegionSummary, RegionSummarySchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import { modelPattern } from "../../proto/ids.ts";
import type { Clock } from "../../runtime/clock.ts";
import { chatPlan } from "../../runtime/frontend/openai/chat-request.ts";
import { errorAnswer } from "../../runtime/frontend/openai/error-answer.ts";
import { readJson } from "../../runtime/frontend/openai/json-body.ts";
import { textPlan } from "../../runtime/frontend/openai/text-request.ts";
import { type PolicyBook, policyFor } from "../../runtime/policy/policy-defaults.ts";
import { plainRequest, type RouteRequest } from "../route/route-request.ts";
import { type ExplanationInputs, explain } from "./explanation.ts";
import { generateRoute } from "./route-requests.ts";

const PROMPT_TOKENS_DEFAULT = 64;
const TOKENS_MAX = 1 << 20;

export interface RegionRoutesOptions {
  readonly summary: () => RegionSummary;
  readonly inputs: ExplanationInputs;
  readonly clock: Clock;
  readonly policies?: PolicyBook;
}

type Env = { Bindings: HttpBindings };
type Query = (name: string) => string | undefined;

/**
 * GET /v1/region; GET /v1/routes/explain?model=M[&prompt_tokens=N][&max_tokens=N][&version=V]
 * [&session=S][&tenant=T]; POST /v1/routes/explain with the body of a completion or a chat.
 */
export function regionRoutes(options: RegionRoutesOptions): Hono<Env> {
  const { summary, inputs, clock } = options;
  const app = new Hono<Env>();
  app.get("/v1/region", (c) => c.json(toJson(RegionSummarySchema, summary())));
  app.get("/v1/routes/explain", (c) =>
    c.json(
      explain(
        inputs,
        routeOf(options, (name) => c.req.query(name)),
      ),
    ),
  );
  app.post("/v1/routes/explain", async (c) => {
    try {
      const json = await readJson(c.env.incoming, clock);
      return c.json(explain(inputs, bodyRoute(options, json, c.env.incoming.headers)));
    } catch (thrown) {
      const { status, body } = errorAnswer(thrown);
      return Response.json(body, { status });
    }
  });
  return app;
}

function routeOf({ inputs, policies }: RegionRoutesOptions, query: Query): RouteRequest {
  const model = query("model") ?? "";
  if (!modelPattern.test(model)) {
    throw new Fault("invalid-argument", "say which model: ?model=M", { param: "model" });
  }
  const promptTokens = countOf(query, "prompt_tokens", PROMPT_TOKENS_DEFAULT);
  const maxTokens = countOf(query, "max_tokens", 0);
  const tenant = query("tenant") ?? "";
  const { table } = inputs.edges;
  const plain = plainRequest(model, promptTokens);
  return {
    ...plain,
    ...{ tenant, version: query("version") ?? "", sessionId: query("session") ?? "" },
    expectedTokens: table.expectedTokens({ model, tenant, promptTokens, maxTokens }),
    policy: policies === undefined ? plain.policy : policyFor({ model, tenant }, policies),
  };
}

/** As a completion with this body would be routed. */
function bodyRoute(
  { inputs, clock, policies }: RegionRoutesOptions,
  json: unknown,
  headers: Parameters<typeof chatPlan>[1],
): RouteRequest {
  const { whole, promptTokens } = withPrompt(json);
  const isChat = typeof whole === "object" && whole !== null && "messages" in whole;
  const [request] = (isChat ? chatPlan(whole, headers) : textPlan(whole, headers)).requests;
  if (request === undefined) throw new Fault("invalid-argument", "there is no prompt");
  const policy = policies === undefined ? request.policy : policyFor(request, policies);
  const context = {
    ...{ signal: new AbortController().signal, requestId: "", visitedRegions: [] },
    deadlineMs: Infinity,
  };
  const ruled = { ...request, ...(policy === undefined ? {} : { policy }) };
  const route = generateRoute(ruled, context, inputs.edges.table, clock);
  return promptTokens === null ? route : { ...route, promptTokens };
}

/** In place of a prompt, `prompt_tokens` says how long one would be. */
function withPrompt(json: unknown): { whole: unknown; promptTokens: number | null } {
  if (typeof json !== "object" || json === null || !("prompt_tokens" in json)) {
    return { whole: json, promptTokens: null };
  }
  const { prompt_tokens: told, ...rest } = json;
  const promptTokens = countOf(() => String(told), "prompt_tokens", 0);
  return { whole: { ...rest, messages: [{ role: "user", content: "" }] }, promptTokens };
}

function countOf(query: Query, name: string, otherwise: number): number {
  const value = Number(query(name) ?? otherwise);
  if (Number.isInteger(value) && value >= 0 && value <= TOKENS_MAX) return value;
  const what = `${name} must be a whole number up to ${TOKENS_MAX}`;
  throw new Fault("invalid-argument", what, { param: name });
}
