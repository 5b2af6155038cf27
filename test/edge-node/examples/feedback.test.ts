// Feedback and imports on a real edge: what callers may say, what they are refused, and that the
// edge tells nobody what it was told.
import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import test from "ava";
import { isLoopback } from "../../../edge-node/examples/data-routes.ts";
import { Feedback } from "../../../proto/gen/isthmus/v1/feedback_pb.ts";
import { Inference } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { createClient, messagesOf } from "../../../runtime/grpc/bridge.ts";
import { openChannel } from "../../../runtime/grpc/channel.ts";
import { randomModel } from "../../models/tiny-model.ts";
import { EdgeProcess } from "../edge-process.ts";

const launcher = resolve(import.meta.dirname, "../../../coordinator/cli/isthmus.mjs");
const model = "tiny";
let edge: EdgeProcess;

test.before(async () => {
  const path = await randomModel({ contextLength: 512 });
  edge = await EdgeProcess.start({ models: [{ model, path }], queueMax: 8 });
  await edge.ready();
});
test.after.always(() => edge?.destroy());

const json = { "content-type": "application/json" };

async function call(method: string, path: string, body?: unknown) {
  const init = { method, ...(body !== undefined && { body: JSON.stringify(body), headers: json }) };
  const answer = await fetch(`${edge.http}${path}`, init);
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
}

const give = (body: object) => call("POST", "/v1/feedback", body);
const user = (content: string) => ({ role: "user", content });

/** Asks the edge; resolves with the completion's id and texts. */
async function ask(messages: readonly object[], more: object = {}) {
  const asked = { model, messages, max_tokens: 6, temperature: 1, ...more };
  const { body } = await call("POST", "/v1/chat/completions", asked);
  const choices = body.choices as { message: { content: string } }[];
  return { id: String(body.id), texts: choices.map(({ message }) => message.content) };
}

/** What lies in the edge's file. */
function kept() {
  const db = new DatabaseSync(join(edge.dir, "examples", "examples.sqlite"), { readOnly: true });
  const rows = db.prepare("SELECT id, source, prompt, completion FROM examples ORDER BY seq").all();
  db.close();
  return rows.map((row) => ({ ...row }));
}

test.serial(
  "a correction, an accepted text and a rating are kept under the completion",
  async (t) => {
    const first = await ask([user("what is it?")]);
    const plain = first.id.replace("chatcmpl-", "");
    const said = await give({ id: first.id, correction: "it is this", rating: -1 });
    t.is(said.status, 200);
    t.like(said.body, { id: plain, object: "feedback", model, lesson: "correction", rating: -1 });
    t.deepEqual(said.body.isthmus, { version: "tiny@0", edge: "us-1", region: "us" });
    const second = await ask([user("and that?")]);
    t.is((await give({ id: second.id, accepted: true })).status, 200);
    const third = await ask([user("and then?")]);
    t.is((await give({ id: third.id, accepted: "that, nearly" })).status, 200);
    t.deepEqual(kept(), [
      { id: plain, source: "correction", prompt: "what is it?", completion: "it is this" },
      {
        ...{ id: second.id.replace("chatcmpl-", ""), source: "accepted" },
        ...{ prompt: "and that?", completion: second.texts[0] },
      },
      {
        ...{ id: third.id.replace("chatcmpl-", ""), source: "accepted" },
        ...{ prompt: "and then?", completion: "that, nearly" },
      },
    ]);
    const told = await call("GET", `/v1/feedback/${first.id}`);
    t.like(told.body, { id: plain, lesson: "correction" });
    t.notRegex(JSON.stringify(told.body), /it is this|what is it/);
    t.is((await call("DELETE", `/v1/feedback/${first.id}`)).status, 200);
    t.is((await call("GET", `/v1/feedback/${first.id}`)).status, 404);
    t.is(kept().length, 2);
  },
);

test.serial("each of several choices has feedback of its own", async (t) => {
  const { id, texts } = await ask([user("say something")], { n: 2, seed: 3 });
  t.not(texts[0], texts[1]);
  const said = await give({ id, choice: 1, accepted: true });
  t.like(said.body, { choice: 1, lesson: "accepted" });
  t.is(kept().at(-1)?.completion, texts[1]!);
  t.is((await call("GET", `/v1/feedback/${id}`)).status, 404);
  t.is((await call("GET", `/v1/feedback/${id}?choice=1`)).status, 200);
  t.is((await give({ id, choice: 2, rating: 1 })).status, 404);
});

test.serial("a streamed completion is remembered like any other", async (t) => {
  const asked = { model, messages: [user("stream it")], max_tokens: 4, stream: true };
  const init = { method: "POST", body: JSON.stringify(asked), headers: json };
  const answer = await fetch(`${edge.http}/v1/chat/completions`, init);
  const [, id] = /"id":"([^"]+)"/.exec(await answer.text()) ?? [];
  t.is((await give({ id, correction: "streamed" })).status, 200);
});

test.serial("what can't be feedback is refused in OpenAI's terms, by field", async (t) => {
  const { id } = await ask([user("hello")]);
  const { id: talk } = await ask([{ role: "system", content: "be brief" }, user("hello")]);
  const unknown = "chatcmpl-00000000-0000-0000-0000-000000000000";
  const cases: [body: unknown, status: number, code: string, param: string | null][] = [
    [{ rating: 1 }, 400, "missing_required_parameter", "id"],
    [{ id }, 400, "missing_required_parameter", "rating"],
    [{ id, rating: 2 }, 400, "invalid_value", "rating"],
    [{ id, rating: "good" }, 400, "invalid_type", "rating"],
    [{ id, correction: "" }, 400, "invalid_value", "correction"],
    [{ id, accepted: false }, 400, "invalid_value", "accepted"],
    [{ id, correction: "a", accepted: "b" }, 400, "invalid_value", "accepted"],
    [{ id, stars: 5 }, 400, "unknown_parameter", "stars"],
    [{ id: "../../etc/passwd", rating: 1 }, 400, "invalid_value", "id"],
    [{ id, choice: -1, rating: 1 }, 400, "invalid_value", "choice"],
    [{ id: unknown, rating: 1 }, 404, "not_found", "id"],
    [{ id: talk, correction: "hi" }, 400, "unsupported_parameter", "correction"],
    [[], 400, "invalid_type", null],
  ];
  const before = kept().length;
  for (const [body, status, code, param] of cases) {
    const answer = await call("POST", "/v1/feedback", body);
    const { error } = answer.body as { error: object };
    t.is(answer.status, status, JSON.stringify(body));
    t.like(error, { code, param, type: "invalid_request_error" }, JSON.stringify(body));
  }
  t.is((await call("PUT", "/v1/feedback", {})).status, 405);
  t.is(kept().length, before);
  t.is((await give({ id: talk, rating: 1 })).status, 200, "any completion may be rated");
});

test.serial("the same by gRPC", async (t) => {
  const channel = openChannel(edge.grpc);
  t.teardown(() => channel.close());
  const inference = createClient(Inference, channel);
  const feedback = createClient(Feedback, channel);
  const chat = { messages: [{ role: "user", content: "by gRPC" }] };
  const call = inference.generate({
    ...{ model, maxTokens: 4 },
    prompt: { case: "chat", value: chat },
  });
  let id = "";
  call.on("metadata", (metadata) => {
    id = String(metadata.get("isthmus-request-id")[0]);
  });
  for await (const _ of messagesOf(call));
  const given = await feedback.giveFeedback({
    ...{ id, rating: 0.5 },
    lesson: { case: "correction", value: "grpc answer" },
  });
  t.like(given.receipt, { id, model, lesson: "correction", rating: 0.5, edge: "us-1" });
  t.is(kept().at(-1)?.completion, "grpc answer");
  t.like((await feedback.getFeedback({ id })).receipt, { id, lesson: "correction" });
  await feedback.deleteFeedback({ id });
  t.not(kept().at(-1)?.completion, "grpc answer");
  const refusals = await Promise.all(
    [
      feedback.giveFeedback({ id }),
      feedback.giveFeedback({ id, rating: Number.NaN }),
      feedback.giveFeedback({ id: "a/b", rating: 1 }),
      feedback.giveFeedback({ id, lesson: { case: "accepted", value: false } }),
      feedback.getFeedback({ id: "unheard-of" }),
    ].map((refused) => refused.then(String, ({ code, param }) => `${code} ${param}`)),
  );
  t.deepEqual(refusals, [
    "invalid-argument rating",
    "invalid-argument rating",
    "invalid-argument id",
    "invalid-argument accepted",
    "not-found id",
  ]);
});

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function isthmus(cwd: string, ...args: string[]): Promise<Ran> {
  return new Promise((done) => {
    const child = execFile(process.execPath, [launcher, ...args], { cwd }, (error, out, err) => {
      done({ code: error === null ? 0 : Number(child.exitCode ?? -1), out, err });
    });
    child.stdin?.end();
  });
}

test.serial("isthmus data imports, lists and deletes, and no text comes back", async (t) => {
  const cwd = join(edge.dir, "operator");
  mkdirSync(join(cwd, ".isthmus"), { recursive: true });
  const processes = [{ role: "edge", name: "us-1", pid: 1, http: edge.http }];
  writeFileSync(join(cwd, ".isthmus", "mesh.json"), JSON.stringify({ processes }));
  const lines = Array.from({ length: 450 }, (_, n) =>
    JSON.stringify({ prompt: `hidden prompt ${n}`, completion: `hidden answer ${n}` }),
  );
  writeFileSync(join(cwd, "mine.jsonl"), `${lines.join("\n")}\n`);
  const before = kept().length;
  const first = await isthmus(cwd, "data", "import", "mine.jsonl");
  t.is(first.code, 0, first.err);
  t.regex(first.out, /^450 examples for tiny; the edge keeps \d+ examples, /);
  const again = await isthmus(cwd, "data", "import", "mine.jsonl", "--model", model);
  t.regex(again.out, /^0 examples for tiny, 450 it had already; /);
  t.is(kept().length, before + 450);

  const listed = await isthmus(cwd, "data", "ls", "--limit", "400", "--edge", "us-1");
  t.is(listed.code, 0, listed.err);
  t.regex(listed.out, /^ID +MODEL +FROM +FOR +SIZE +GIVEN +LEARNED$/m);
  t.regex(listed.out, /^import-[0-9a-f]{32} +tiny +import +evaluation +\d+ B /m);
  t.notRegex(listed.out, /hidden/);
  const [, last] = /older ones: --before (\S+)/.exec(listed.out) ?? [];
  const rest = await isthmus(cwd, "data", "ls", "--before", String(last), "--edge", edge.http);
  t.is(rest.out.match(/ import /g)?.length, 50);

  const removed = await isthmus(cwd, "data", "rm", String(last));
  t.is(removed.code, 0, removed.err);
  t.is(kept().length, before + 449);
  const gone = await isthmus(cwd, "data", "rm", String(last));
  t.is(gone.code, 1);
  t.is(gone.err.trim(), "there is no such example here");

  writeFileSync(join(cwd, "bad.jsonl"), `${lines[0]}\n{"prompt": "hidden words"}\n`);
  const bad = await isthmus(cwd, "data", "import", "bad.jsonl");
  t.is(bad.code, 1);
  t.regex(bad.err, /^line 2: needs the strings "prompt" and "completion"/);
  t.notRegex(bad.err, /hidden words/);
  const elsewhere = await isthmus(cwd, "data", "ls", "--edge", "eu-1");
  t.is(elsewhere.code, 2);
  t.regex(elsewhere.err, /there is no edge eu-1 here \(us-1\)/);
});

test("examples are for the edge's own machine", (t) => {
  for (const address of ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"]) {
    t.true(isLoopback(address), address);
  }
  for (const address of ["", "10.0.0.1", "::ffff:10.0.0.1", "fe80::1", "1127.0.0.1"]) {
    t.false(isLoopback(address), address);
  }
});

test.serial("kill -9: feedback stays, what was remembered for it is forgotten", async (t) => {
  const { id } = await ask([user("before the end")]);
  t.is((await give({ id, rating: 1 })).status, 200);
  const path = await randomModel({ contextLength: 512 });
  await edge.destroy(true);
  edge = await EdgeProcess.start({ models: [{ model, path }], queueMax: 8 }, edge.dir);
  await edge.ready();
  t.like((await call("GET", `/v1/feedback/${id}`)).body, { rating: 1 });
  const { status, body } = await give({ id, rating: 0 });
  t.is(status, 404);
  t.regex(JSON.stringify(body), /each edge remembers what it answered, for 60 minutes/);
});
