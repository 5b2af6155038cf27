// From the caller's words to the engine's: defaults, prompts of each kind, constraints.
import type { create } from "@bufbuild/protobuf";
import test from "ava";
import { toGenerateJob } from "../../../edge-node/serving/generate-job.ts";
import { type ConstraintSchema, Priority } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { request } from "./served-script.ts";

const context = { engineVersion: "v1", seed: 77 };

test("what isn't asked for has its default", (t) => {
  t.deepEqual(toGenerateJob(request({ maxTokens: 0 }), context), {
    prompt: { kind: "text", text: "hello" },
    resume: null,
    maxTokens: 0,
    temperature: 1,
    topP: 1,
    topK: 0,
    minP: 0,
    seed: 77,
    repeatPenalty: null,
    stop: [],
    constraint: null,
    topLogprobs: null,
    version: "v1",
    priority: "interactive",
  });
});

test("zeros that are asked for are zeros, not defaults", (t) => {
  const sampling = { temperature: 0, topP: 0, topK: 0, minP: 0, seed: 0 };
  const job = toGenerateJob(request({ sampling, topLogprobs: 0 }), context);
  t.like(job, { temperature: 0, topP: 0, seed: 0, topLogprobs: 0 });
});

test("every kind of prompt and constraint arrives as it was", (t) => {
  const messages = [{ role: "system", content: "s" }];
  const promptOf = (prompt: Parameters<typeof request>[0]) =>
    toGenerateJob(request(prompt), context).prompt;
  t.deepEqual(promptOf({ prompt: { case: "chat", value: { messages } } }), {
    kind: "chat",
    messages: [{ role: "system", content: "s" }],
  });
  t.deepEqual(promptOf({ prompt: { case: "tokens", value: { ids: [1, 2] } } }), {
    kind: "tokens",
    tokens: [1, 2],
  });
  const constraintOf = (kind: ReturnType<typeof create<typeof ConstraintSchema>>["kind"]) =>
    toGenerateJob(request({ constraint: { kind } }), context).constraint;
  t.deepEqual(constraintOf({ case: "jsonSchema", value: "{}" }), {
    kind: "json-schema",
    schema: "{}",
  });
  t.deepEqual(constraintOf({ case: "jsonObject", value: true }), { kind: "json-object" });
  t.is(constraintOf({ case: "jsonObject", value: false }), null);
  t.deepEqual(constraintOf({ case: "grammar", value: "root ::= x" }), {
    kind: "grammar",
    gbnf: "root ::= x",
  });
  t.is(constraintOf({ case: undefined }), null);
});

test("only batch is batch", (t) => {
  const priorityOf = (priority: Priority) => toGenerateJob(request({ priority }), context).priority;
  t.is(priorityOf(Priority.BATCH), "batch");
  t.is(priorityOf(Priority.INTERACTIVE), "interactive");
  t.is(priorityOf(Priority.UNSPECIFIED), "interactive");
});
