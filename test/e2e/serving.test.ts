// The same conformance suites that run in-process, against a real gateway and a real edge: stock
// OpenAI and AI SDK packages, gRPC, reflection from Python, and hostile requests.
import test, { type ImplementationFn, type TestFn } from "ava";
import OpenAI from "openai";
import type { ConformanceTarget } from "../conformance/conformance-target.ts";
import { fuzzConformance } from "../conformance/fuzz.ts";
import { grpcConformance } from "../conformance/grpc.ts";
import { openAiConformance } from "../conformance/openai.ts";
import { prompts } from "./stream-set.ts";
import { startTestMesh, type TestMesh } from "./test-mesh.ts";

const FUZZ = { runs: 60, seed: 7 };

let mesh: TestMesh;

test.before(async (t) => {
  t.timeout(180_000);
  mesh = await startTestMesh({ regions: ["us", "eu"], edges: 1 });
});

test.after.always(async () => {
  await mesh?.[Symbol.asyncDispose]();
});

/** The suites by another name, one test at a time: they share one small edge. */
function titled(door: string): TestFn {
  const declare = (title: string, implementation: ImplementationFn<[]>) =>
    test.serial(`${door}: ${title}`, implementation);
  return Object.assign(declare, test) as unknown as TestFn;
}

for (const [door, name] of [
  ["gateway", "us"],
  ["edge", "eu-1"],
] as const) {
  const target = (): ConformanceTarget => ({
    http: mesh.http(name),
    grpc: mesh.grpc(name),
    model: "commands",
    prompt: prompts(1)[0]!,
    embeds: true,
  });
  const suite = titled(door);
  openAiConformance(suite, target);
  grpcConformance(suite, target);
  fuzzConformance(suite, target, FUZZ);

  suite("openai tools: a schema that no grammar holds names its tool", async (t) => {
    const parameters = { type: "object", properties: { city: { type: "string", pattern: "^O" } } };
    const tools = [{ type: "function", function: { name: "look_up", parameters } }];
    const messages = [{ role: "user", content: "Where?" }];
    for (const stream of [false, true]) {
      const response = await fetch(`${target().http}/v1/chat/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({
          model: "commands",
          messages,
          tools,
          tool_choice: "required",
          stream,
        }),
      });
      t.is(response.status, 400);
      const { error } = (await response.json()) as { error: { param: string; message: string } };
      t.is(error.param, "tools");
      t.regex(error.message, /in "look_up".*"pattern"/);
    }
  });
}

test.serial("a tool call whose edge is killed goes on elsewhere, whole and valid", async (t) => {
  // Long enough that the blow falls into the arguments.
  const numbers = { type: "array", items: { enum: [1, 2, 3] }, minItems: 60, maxItems: 60 };
  const parameters = { type: "object", properties: { numbers }, required: ["numbers"] };
  const client = new OpenAI({ baseURL: `${mesh.http("us")}/v1`, apiKey: "none", maxRetries: 0 });
  const stream = client.chat.completions.stream({
    model: "commands",
    messages: [{ role: "user", content: prompts(1)[0]! }],
    temperature: 0,
    tools: [{ type: "function", function: { name: "count", parameters } }],
    tool_choice: "required",
  });
  let last: unknown;
  let struck = false;
  stream.on("chunk", (chunk) => {
    last = chunk;
  });
  stream.on("tool_calls.function.arguments.delta", ({ arguments: written }) => {
    if (struck || written.length < 30) return;
    struck = true;
    mesh.handle.kill("us-1", "SIGKILL");
  });
  const { choices } = await stream.finalChatCompletion();
  const [choice] = choices;
  t.true(struck);
  t.is(choice?.finish_reason, "tool_calls");
  const [call] = choice?.message.tool_calls ?? [];
  if (call?.type !== "function") return t.fail();
  t.is(call.function.name, "count");
  const written = JSON.parse(call.function.arguments) as { numbers: number[] };
  t.is(written.numbers.length, 60);
  t.true(written.numbers.every((number) => [1, 2, 3].includes(number)));
  const { isthmus } = last as { isthmus: { moves: { to_edge: string; at_token: number }[] } };
  t.is(isthmus.moves.length, 1);
  t.is(isthmus.moves[0]?.to_edge, "eu-1");
  t.true(isthmus.moves[0]!.at_token > 10);
});
