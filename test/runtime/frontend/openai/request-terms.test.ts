// The fields of ours in OpenAI requests: what they become, and how a wrong one is refused.
import test, { type ExecutionContext } from "ava";
import { Priority } from "../../../../proto/gen/isthmus/v1/inference_pb.ts";
import { chatPlan } from "../../../../runtime/frontend/openai/chat-request.ts";
import { embeddingsPlan } from "../../../../runtime/frontend/openai/embeddings.ts";
import { errorAnswer } from "../../../../runtime/frontend/openai/error-answer.ts";
import { textPlan } from "../../../../runtime/frontend/openai/text-request.ts";

type Headers = Readonly<Record<string, string>>;
type Plan = (body: object, headers?: Headers) => unknown;

const chat: Plan = (body, headers = {}) =>
  chatPlan({ model: "m", messages: [{ role: "user", content: "hi" }], ...body }, headers);
const text: Plan = (body, headers = {}) => textPlan({ model: "m", prompt: "hi", ...body }, headers);
const embed: Plan = (body, headers = {}) =>
  embeddingsPlan({ model: "m", input: "hi", ...body }, headers);

const requestsOf = (body: object, headers: Headers = {}) =>
  chatPlan({ model: "m", messages: [{ role: "user", content: "hi" }], ...body }, headers).requests;
const tenantOf = (body: object, headers: Headers = {}) => requestsOf(body, headers)[0]!.tenant;

function refused(t: ExecutionContext, plan: Plan, param: string, body: object, headers?: Headers) {
  const { status, body: answer } = errorAnswer(t.throws(() => plan(body, headers)));
  t.like({ status, ...answer.error }, { status: 400, type: "invalid_request_error", param });
}

test("every field arrives in the request, for each choice", (t) => {
  const isthmus = {
    tenant: "acme",
    priority: "batch",
    policy: {
      regions: ["eu"],
      jurisdictions: ["gdpr"],
      gpu_required: true,
      hedge: true,
      ms_per_gram: 2,
      ms_per_cost: 0.5,
    },
  };
  const policy = {
    regions: ["eu"],
    jurisdictions: ["gdpr"],
    gpuRequired: true,
    hedge: true,
    msPerGram: 2,
    msPerCost: 0.5,
  };
  const expected = { tenant: "acme", priority: Priority.BATCH, policy };
  const requests = requestsOf({ n: 2, isthmus });
  t.is(requests.length, 2);
  for (const request of requests) t.like(request, expected);
  t.like(textPlan({ model: "m", prompt: "hi", isthmus }, {}).requests[0], expected);
  const { priority: _, ...embedding } = isthmus;
  const { request } = embeddingsPlan({ model: "m", input: "hi", isthmus: embedding }, {});
  t.like(request, { tenant: "acme", policy });
});

test("what isn't said stays unset", (t) => {
  for (const isthmus of [undefined, null, {}, { policy: null, session: null }]) {
    const [request] = requestsOf({ isthmus });
    t.like(request, { sessionId: "", tenant: "", priority: Priority.UNSPECIFIED });
    t.is(request!.policy, undefined);
  }
});

test("a session and a tenant come by header or by body, and must agree", (t) => {
  const headers = { "x-isthmus-session": "s-1", "x-isthmus-tenant": "acme" };
  t.like(requestsOf({}, headers)[0], { sessionId: "s-1", tenant: "acme" });
  const body = { isthmus: { session: "s-1", tenant: "acme" } };
  t.like(requestsOf(body)[0], { sessionId: "s-1", tenant: "acme" });
  t.like(requestsOf(body, headers)[0], { sessionId: "s-1", tenant: "acme" });
  refused(t, chat, "isthmus.session", { isthmus: { session: "s-2" } }, headers);
  refused(t, text, "isthmus.tenant", { isthmus: { tenant: "other" } }, headers);
  refused(t, embed, "isthmus.tenant", { isthmus: { tenant: "other" } }, headers);
  refused(t, chat, "x-isthmus-session", {}, { "x-isthmus-session": "a b" });
  refused(t, embed, "x-isthmus-tenant", {}, { "x-isthmus-tenant": "a b" });
});

test("OpenAI's user stands for the tenant only where none is named, and never by name", (t) => {
  const one = tenantOf({ user: "ann@example.org" });
  t.regex(one, /^user:[0-9a-f]{16}$/);
  t.is(tenantOf({ user: "ann@example.org" }), one);
  t.not(tenantOf({ user: "bob@example.org" }), one);
  t.is(tenantOf({ user: "" }), "");
  t.is(tenantOf({ user: "ann", isthmus: { tenant: "acme" } }), "acme");
  t.is(tenantOf({ user: "ann" }, { "x-isthmus-tenant": "acme" }), "acme");
});

test("a wrong field is refused by its name", (t) => {
  const wrong: readonly (readonly [string, unknown])[] = [
    ["isthmus", "eu"],
    ["isthmus.region", { region: "eu" }],
    ["isthmus.session", { session: "a/b" }],
    ["isthmus.session", { session: "" }],
    ["isthmus.tenant", { tenant: 7 }],
    ["isthmus.priority", { priority: "urgent" }],
    ["isthmus.policy", { policy: ["eu"] }],
    ["isthmus.policy.region", { policy: { region: "eu" } }],
    ["isthmus.policy.regions", { policy: { regions: "eu" } }],
    ["isthmus.policy.regions[1]", { policy: { regions: ["eu", "U S"] } }],
    ["isthmus.policy.regions", { policy: { regions: Array.from({ length: 65 }, () => "eu") } }],
    ["isthmus.policy.jurisdictions[0]", { policy: { jurisdictions: [1] } }],
    ["isthmus.policy.gpu_required", { policy: { gpu_required: "yes" } }],
    ["isthmus.policy.hedge", { policy: { hedge: 1 } }],
    ["isthmus.policy.ms_per_gram", { policy: { ms_per_gram: -1 } }],
    ["isthmus.policy.ms_per_cost", { policy: { ms_per_cost: 1e9 } }],
  ];
  for (const [param, isthmus] of wrong) {
    refused(t, chat, param, { isthmus });
    refused(t, text, param, { isthmus });
  }
  refused(t, embed, "isthmus.session", { isthmus: { session: "s" } });
  refused(t, embed, "isthmus.priority", { isthmus: { priority: "batch" } });
});

test("a session takes one answer", (t) => {
  const isthmus = { session: "s" };
  t.notThrows(() => chat({ isthmus, n: 1 }));
  refused(t, chat, "n", { isthmus, n: 2 });
  refused(t, text, "n", { isthmus, prompt: ["one", "two"] });
});
