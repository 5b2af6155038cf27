// The same conformance suites that run in-process, against a real gateway and a real edge: stock
// OpenAI and AI SDK packages, gRPC, reflection from Python, and hostile requests.
import test, { type ImplementationFn, type TestFn } from "ava";
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
