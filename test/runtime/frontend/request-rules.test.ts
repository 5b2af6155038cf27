// Every bound of a request, at it and beyond it.
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import test from "ava";
import {
  EmbedRequestSchema,
  GenerateRequestSchema,
  ScoreRequestSchema,
} from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import {
  checkEmbed,
  checkGenerate,
  checkScore,
  limits,
} from "../../../runtime/frontend/request-rules.ts";
import { nestsDeeper } from "../../../runtime/tools/json-depth.ts";

type GenerateInit = MessageInitShape<typeof GenerateRequestSchema>;

const valid: GenerateInit = { model: "m", prompt: { case: "text", value: "hello" } };
const generate = (change: GenerateInit) => () =>
  checkGenerate(create(GenerateRequestSchema, { ...valid, ...change } as GenerateInit));
const chat = (role: string): GenerateInit => ({
  prompt: { case: "chat", value: { messages: [{ role, content: "" }] } },
});
const schemaOf = (value: string): GenerateInit => ({
  constraint: { kind: { case: "jsonSchema", value } },
});

test("what is at its bound is taken", (t) => {
  const taken: readonly GenerateInit[] = [
    {},
    { maxTokens: limits.completionTokensMax },
    { sampling: { temperature: 0, topP: 0, minP: 0, topK: 0 } },
    { sampling: { temperature: limits.temperatureMax, topP: 1, minP: 1, topK: limits.topKMax } },
    { stop: Array.from({ length: limits.stopMax }, () => "x".repeat(limits.stopCharsMax)) },
    { topLogprobs: limits.topLogprobsMax },
    { prompt: { case: "tokens", value: { ids: [0] } } },
    chat("system"),
    chat("user"),
    chat("assistant"),
    chat("tool"),
    { constraint: {} },
    { constraint: { kind: { case: "jsonObject", value: true } } },
    { constraint: { kind: { case: "grammar", value: 'root ::= "a"' } } },
    schemaOf("{}"),
    { sessionId: "a", tenant: "team/a:b@c.d", policy: {} },
    { sessionId: `s${"-".repeat(126)}s`, tenant: "t".repeat(128) },
    {
      policy: {
        regions: Array.from({ length: limits.policyNamesMax }, (_, at) => `r${at}`),
        jurisdictions: ["gdpr"],
        msPerGram: limits.policyWeightMax,
        msPerCost: 0,
      },
    },
  ];
  for (const change of taken) t.notThrows(generate(change), JSON.stringify(change));
});

test("what is beyond its bound or malformed is refused by its field's name", (t) => {
  const refused: readonly (readonly [string, GenerateInit])[] = [
    ["model", { model: "" }],
    ["model", { model: "a b" }],
    ["prompt", { prompt: { case: undefined } }],
    ["text", { prompt: { case: "text", value: "" } }],
    ["tokens.ids", { prompt: { case: "tokens", value: { ids: [] } } }],
    ["chat.messages", { prompt: { case: "chat", value: { messages: [] } } }],
    ["chat.messages[0].role", chat("robot")],
    ["max_tokens", { maxTokens: limits.completionTokensMax + 1 }],
    ["sampling.temperature", { sampling: { temperature: -0.1 } }],
    ["sampling.temperature", { sampling: { temperature: 2.1 } }],
    ["sampling.temperature", { sampling: { temperature: Number.NaN } }],
    ["sampling.top_p", { sampling: { topP: 1.1 } }],
    ["sampling.min_p", { sampling: { minP: Number.POSITIVE_INFINITY } }],
    ["sampling.top_k", { sampling: { topK: limits.topKMax + 1 } }],
    ["stop", { stop: Array.from({ length: limits.stopMax + 1 }, () => "x") }],
    ["stop[1]", { stop: ["x", ""] }],
    ["stop[0]", { stop: ["x".repeat(limits.stopCharsMax + 1)] }],
    ["constraint.grammar", { constraint: { kind: { case: "grammar", value: "" } } }],
    ["constraint.json_schema", schemaOf("{")],
    ["constraint.json_schema", schemaOf("[]")],
    ["constraint.json_schema", schemaOf("null")],
    ["constraint.json_schema", schemaOf(`{"a":${"[".repeat(40)}${"]".repeat(40)}}`)],
    ["constraint.json_schema", schemaOf(`"${"x".repeat(limits.constraintCharsMax)}"`)],
    ["top_logprobs", { topLogprobs: limits.topLogprobsMax + 1 }],
    ["priority", { priority: 9 as never }],
    ["version", { version: "v".repeat(limits.versionCharsMax + 1) }],
    ["session_id", { sessionId: "a.b" }],
    ["session_id", { sessionId: "s".repeat(129) }],
    ["tenant", { tenant: "a b" }],
    ["tenant", { tenant: "t".repeat(129) }],
    ["policy.regions[1]", { policy: { regions: ["eu", "E U"] } }],
    ["policy.jurisdictions[0]", { policy: { jurisdictions: [""] } }],
    ["policy.regions", { policy: { regions: Array.from({ length: 65 }, () => "eu") } }],
    ["policy.ms_per_gram", { policy: { msPerGram: -1 } }],
    ["policy.ms_per_cost", { policy: { msPerCost: Number.NaN } }],
    ["policy.ms_per_cost", { policy: { msPerCost: limits.policyWeightMax * 2 } }],
  ];
  for (const [param, change] of refused) {
    t.like(t.throws(generate(change), undefined, param), { code: "invalid-argument", param });
  }
});

test("embeddings need texts, scores need ids", (t) => {
  const embed = (inputs: string[]) => () =>
    checkEmbed(create(EmbedRequestSchema, { model: "m", inputs }));
  t.notThrows(embed(["a"]));
  t.like(t.throws(embed([])), { param: "inputs" });
  t.like(t.throws(embed(["a", ""])), { param: "inputs[1]" });
  t.like(t.throws(embed(Array.from({ length: 2049 }, () => "a"))), { param: "inputs" });
  const named = (tenant: string) => () =>
    checkEmbed(create(EmbedRequestSchema, { model: "m", inputs: ["a"], tenant }));
  t.notThrows(named("acme"));
  t.like(t.throws(named(" ")), { param: "tenant" });
  const score = (ids: number[]) => () =>
    checkScore(
      create(ScoreRequestSchema, { model: "m", prompt: { case: "text", value: "a" }, ids }),
    );
  t.notThrows(score([1]));
  t.like(t.throws(score([])), { param: "ids" });
});

test("nesting is counted without recursion", (t) => {
  const nested = (depth: number): unknown => JSON.parse("[".repeat(depth) + "]".repeat(depth));
  t.false(nestsDeeper("text", 0));
  t.false(nestsDeeper(nested(3), 3));
  t.true(nestsDeeper([[[[]]], 1], 2));
  t.true(nestsDeeper(nested(100_000), 32));
});
