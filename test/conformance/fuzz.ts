// Bad input over HTTP and gRPC: whatever is sent, the answer is a proper one, a malformed request
// gets a 4xx or INVALID_ARGUMENT, and the server lives.
import { create, toBinary } from "@bufbuild/protobuf";
import type { TestFn } from "ava";
import fc from "fast-check";
import { GenerateRequestSchema } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { framed, rawAnswer, rawCall, rawConnect } from "../support/raw-grpc.ts";
import type { ConformanceTarget, GetTarget } from "./conformance-target.ts";

export interface FuzzOptions {
  /** Requests of each property. */
  readonly runs: number;
  readonly seed: number;
}

const PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"] as const;

export function fuzzConformance(test: TestFn, target: GetTarget, options: FuzzOptions): void {
  httpFuzz(test, target, options);
  grpcFuzz(test, target, options);
}

const parameters = ({ runs, seed }: FuzzOptions) => ({ numRuns: runs, seed, endOnFailure: true });

function httpFuzz(test: TestFn, target: GetTarget, options: FuzzOptions): void {
  test("fuzz: bytes that are no JSON get a 4xx in OpenAI's shape", async (t) => {
    const property = fc.asyncProperty(
      fc.constantFrom(...PATHS),
      fc.oneof(fc.string(), fc.uint8Array()).filter((body) => !isJson(body)),
      async (path, body) => {
        const { status } = await checkedPost(target(), path, body);
        return status >= 400 && status < 500;
      },
    );
    await t.notThrowsAsync(fc.assert(property, parameters(options)));
  });

  test("fuzz: JSON that is no request gets a 4xx in OpenAI's shape", async (t) => {
    const property = fc.asyncProperty(fc.constantFrom(...PATHS), fc.json(), async (path, body) => {
      const { status } = await checkedPost(target(), path, body);
      return status >= 400 && status < 500;
    });
    await t.notThrowsAsync(fc.assert(property, parameters(options)));
  });

  test("fuzz: a request with a field broken or made up is refused, never a 5xx", async (t) => {
    const property = fc.asyncProperty(brokenChat(), async (change) => {
      const { status } = await checkedPost(
        target(),
        "/v1/chat/completions",
        JSON.stringify({ ...validChat(target()), ...change }),
      );
      return status === 400 || status === 404;
    });
    await t.notThrowsAsync(fc.assert(property, parameters(options)));
  });

  test("fuzz: a request with any value in a known field is answered or refused", async (t) => {
    const property = fc.asyncProperty(
      fc.constantFrom(
        ...["stop", "seed", "n", "response_format", "messages", "stream", "logit_bias"],
        ...["tools", "tool_choice", "isthmus"],
      ),
      fc.jsonValue({ maxDepth: 4 }),
      async (field, value) => {
        const body = JSON.stringify({ ...validChat(target()), [field]: value });
        const { status } = await checkedPost(target(), "/v1/chat/completions", body);
        return status < 500;
      },
    );
    await t.notThrowsAsync(fc.assert(property, parameters(options)));
  });

  test("fuzz: fields of ours are answered or refused by name", async (t) => {
    const property = fc.asyncProperty(termsOf(), async (isthmus) => {
      const body = JSON.stringify({ ...validChat(target()), isthmus });
      const response = await checkedPost(target(), "/v1/chat/completions", body);
      // A rule may be well formed and impossible here.
      return response.ok || (await refusesField(response, /^isthmus\b/, [400, 412]));
    });
    await t.notThrowsAsync(fc.assert(property, parameters(options)));
  });

  test("fuzz: tools are answered or refused by name", async (t) => {
    const property = fc.asyncProperty(toolsOf(), async (change) => {
      const body = JSON.stringify({ ...validChat(target()), ...change });
      const response = await checkedPost(target(), "/v1/chat/completions", body);
      return response.ok || (await refusesField(response, /^(?:tool|messages)/, [400]));
    });
    await t.notThrowsAsync(fc.assert(property, parameters(options)));
  });
}

function grpcFuzz(test: TestFn, target: GetTarget, options: FuzzOptions): void {
  const INVALID_ARGUMENT = 3;
  const proper = new Set([0, 1, INVALID_ARGUMENT, 5, 8, 9, 12]);

  const sendAll = async (path: string, bytes: fc.Arbitrary<Uint8Array>, allowed: Set<number>) => {
    const session = rawConnect(target().grpc);
    try {
      const property = fc.asyncProperty(bytes, async (message) => {
        const { status, fault } = await rawAnswer(rawCall(session, path, framed(message)));
        if (!allowed.has(status)) throw new Error(`status ${status} ${fault}`);
      });
      await fc.assert(property, parameters(options));
    } finally {
      session.destroy();
    }
  };

  test("fuzz: random bytes are an invalid argument of every method", async (t) => {
    // Field 1 is the model; anything that starts like this is never one that exists.
    const garbage = fc.uint8Array({ minLength: 1, maxLength: 64 });
    const refused = new Set([INVALID_ARGUMENT, 5]);
    for (const method of ["Generate", "Embed", "Score"]) {
      const path = `/isthmus.v1.Inference/${method}`;
      await t.notThrowsAsync(sendAll(path, garbage, refused), method);
    }
  });

  test("fuzz: a mutated message is answered or refused properly", async (t) => {
    const bytes = toBinary(GenerateRequestSchema, validGenerate(target()));
    await t.notThrowsAsync(sendAll("/isthmus.v1.Inference/Generate", mutated(bytes), proper));
  });

  test("fuzz: a message cut short is never taken for a whole one", async (t) => {
    const bytes = toBinary(GenerateRequestSchema, validGenerate(target()));
    const cut = fc.integer({ min: 0, max: 8 }).map((length) => bytes.slice(0, length));
    const refused = new Set([INVALID_ARGUMENT, 5]);
    await t.notThrowsAsync(sendAll("/isthmus.v1.Inference/Generate", cut, refused));
  });
}

const validChat = ({ model, prompt }: ConformanceTarget) => ({
  model,
  messages: [{ role: "user", content: prompt }],
  max_tokens: 2,
});

const validGenerate = ({ model, prompt }: ConformanceTarget) =>
  create(GenerateRequestSchema, {
    model,
    prompt: { case: "chat", value: { messages: [{ role: "user", content: prompt }] } },
    maxTokens: 2,
    sampling: { temperature: 0.5, topP: 0.9, seed: 1 },
    stop: ["\n"],
    topLogprobs: 1,
    tenant: "fuzz",
    policy: { msPerGram: 1, msPerCost: 0.5 },
  });

const validTool = {
  type: "function",
  function: { name: "look", parameters: { type: "object", properties: { at: { enum: ["sea"] } } } },
};

/** A value that fits, or nearly, or not at all. */
const roughly = <T>(...fitting: readonly T[]): fc.Arbitrary<unknown> =>
  fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom(...fitting) },
    { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 2 }) },
  );

/** Objects `isthmus` of which many are right and many are wrong in one place. */
function termsOf(): fc.Arbitrary<unknown> {
  const names = roughly<unknown>([], ["us", "eu"], ["mars"], ["a b"], ["-"]);
  const weight = roughly<unknown>(0, 1, 1e6, 1e7, -1, 0.5);
  const policy = fc.record(
    {
      regions: names,
      jurisdictions: names,
      gpu_required: roughly<unknown>(false, false, true),
      hedge: roughly<unknown>(true, false),
      ms_per_gram: weight,
      ms_per_cost: weight,
    },
    { requiredKeys: [] },
  );
  const terms = {
    session: roughly<unknown>("fuzz", "fuzz-2", "a/b", ""),
    tenant: roughly<unknown>("acme", "a@b.c", " ", "x".repeat(200)),
    priority: roughly<unknown>("interactive", "batch", "urgent"),
    policy: fc.oneof(policy, roughly<unknown>({})),
  };
  return fc.record(terms, { requiredKeys: [] });
}

/** Tools, choices and messages about them, right or nearly. */
function toolsOf(): fc.Arbitrary<object> {
  const schema = roughly<unknown>(
    { type: "object", properties: {} },
    { type: "object", properties: { a: { type: "integer" } }, required: ["a"] },
    { type: "object", properties: { a: { pattern: "x" } } },
    {
      $ref: "#/$defs/a",
      $defs: { a: { type: "object", properties: { b: { $ref: "#/$defs/a" } } } },
    },
  );
  const one = fc.record({
    type: roughly("function"),
    function: fc.record(
      { name: roughly("look", "wait", "a b"), description: roughly("Looks."), parameters: schema },
      { requiredKeys: ["name"] },
    ),
  });
  const call = { id: "c", type: "function", function: { name: "look", arguments: "{" } };
  const message = fc.record(
    {
      role: roughly("assistant", "tool", "user"),
      content: roughly<unknown>("text", null),
      tool_calls: roughly<unknown>([call], [call, call], []),
      tool_call_id: roughly("c", ""),
    },
    { requiredKeys: ["role"] },
  );
  return fc.record(
    {
      tools: fc.oneof(fc.array(one, { maxLength: 3 }), roughly([validTool])),
      tool_choice: roughly<unknown>("auto", "none", "required", {
        type: "function",
        function: { name: "look" },
      }),
      parallel_tool_calls: fc.boolean(),
      messages: fc
        .array(message, { maxLength: 3 })
        .map((messages) => [{ role: "user", content: "hi" }, ...messages]),
    },
    { requiredKeys: [] },
  );
}

/** Changes that no request survives. */
function brokenChat(): fc.Arbitrary<Record<string, unknown>> {
  const not = (...types: string[]) =>
    fc.jsonValue().filter((value) => value !== null && !types.includes(typeof value));
  const made = fc.string({ minLength: 1 }).map((name) => ({ [`x-${name}`]: 1 }));
  return fc.oneof(
    made,
    fc.record({
      temperature: fc.oneof(not("number"), fc.double({ min: 2.001, max: 1e300, noNaN: true })),
    }),
    fc.record({ top_p: fc.oneof(not("number"), fc.constantFrom(-0.1, 1.1, 1e300)) }),
    fc.record({ max_tokens: fc.oneof(not("number"), fc.constantFrom(0, -1, 1.5, 1e12)) }),
    fc.record({ n: fc.oneof(not("number"), fc.constantFrom(0, -3, 0.5, 129, 1e9)) }),
    fc.record({ seed: fc.oneof(not("number"), fc.constantFrom(0.5, 1e300)) }),
    fc.record({ stream: not("boolean") }),
    fc.record({
      messages: fc.oneof(not("object"), fc.constant([]), fc.array(not("object"), { minLength: 1 })),
    }),
    fc.record({
      stop: fc.oneof(fc.integer(), fc.constant([""]), fc.constant(["a", "b", "c", "d", "e"])),
    }),
    fc.record({
      response_format: fc.oneof(not("object"), fc.constant({ type: "xml" }), fc.constant({})),
    }),
    fc.record({
      model: fc.oneof(
        not("string"),
        fc.string().map((name) => `no/${name}`),
      ),
    }),
    fc.record({ tools: fc.array(fc.jsonValue(), { minLength: 1 }) }),
    fc.record({ tool_choice: fc.oneof(fc.constantFrom("required", "any"), not("string")) }),
    fc.record({ isthmus: fc.oneof(not("object"), fc.constantFrom([], { region: "eu" })) }),
  );
}

/** A few bytes overwritten, put in or taken out. */
function mutated(bytes: Uint8Array): fc.Arbitrary<Uint8Array> {
  const edit = fc.record({
    at: fc.nat(bytes.length),
    remove: fc.nat(3),
    insert: fc.uint8Array({ maxLength: 3 }),
  });
  return fc.array(edit, { minLength: 1, maxLength: 4 }).map((edits) => {
    const result = [...bytes];
    for (const { at, remove, insert } of edits) result.splice(at, remove, ...insert);
    return Uint8Array.from(result);
  });
}

function isJson(body: string | Uint8Array): boolean {
  try {
    JSON.parse(Buffer.from(body as Uint8Array).toString("utf8"));
    return true;
  } catch {
    return false;
  }
}

/** Whether a refusal has one of these statuses and names such a field. */
async function refusesField(
  response: Response,
  field: RegExp,
  statuses: readonly number[],
): Promise<boolean> {
  const { error } = (await response.json()) as { error: { param: string | null } };
  if (statuses.includes(response.status) && field.test(error.param ?? "")) return true;
  throw new Error(`${response.status} ${JSON.stringify(error)}`);
}

/** Posts and checks that a refusal has OpenAI's shape. */
async function checkedPost(
  { http }: ConformanceTarget,
  path: string,
  body: string | Uint8Array<ArrayBuffer>,
): Promise<Response> {
  const headers = { "content-type": "application/json" };
  const response = await fetch(http + path, { method: "POST", headers, body });
  const text = await response.clone().text();
  if (response.ok) return response;
  const { error } = JSON.parse(text) as { error: Record<string, unknown> };
  const shaped =
    typeof error.message === "string" &&
    error.message !== "" &&
    typeof error.type === "string" &&
    typeof error.code === "string" &&
    (error.param === null || typeof error.param === "string");
  if (!shaped) throw new Error(`not OpenAI's shape: ${text}`);
  return response;
}
