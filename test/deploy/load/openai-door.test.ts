// A caller by OpenAI's HTTP alone, against the real interface over a scripted backend.
import test from "ava";
import { chatRequest } from "../../../deploy/load/demo-requests.ts";
import { endLine, startLine } from "../../../deploy/load/load-line.ts";
import { openAiDoor } from "../../../deploy/load/openai-door.ts";
import { StreamLog } from "../../../deploy/load/stream-log.ts";
import { asFault, Fault } from "../../../proto/fault.ts";
import { startFrontends } from "../../support/frontend-servers.ts";
import { createScriptedBackend, scriptedModel } from "../../support/scripted-backend.ts";

const request = { ...chatRequest("turn on the light"), model: scriptedModel };
const question = { id: "q", request, isFree: true, isSteady: true };

async function opened() {
  const backend = createScriptedBackend();
  const servers = await startFrontends(backend);
  const door = openAiDoor("us-http-1", servers.http);
  const log = new StreamLog(door.door, question, 100);
  const read = async () => {
    for await (const event of door.open(question)) log.take(event, 200);
  };
  return { backend, servers, log, read, [Symbol.asyncDispose]: () => servers.stop() };
}

test("a stream that ends properly is complete, and says who served it", async (t) => {
  await using at = await opened();
  at.backend.reply = () => ["on", "ce ", "more"];
  await at.read();
  t.is(at.log.text, "once more");
  const end = endLine("us", 7, at.log);
  t.like(end, { outcome: "complete", failure: "", door: "http", region: "us", id: 7 });
  t.is(end.edge, at.log.started?.edge ?? "nobody");
  t.true(end.edge !== "" && end.servedIn !== "");
  t.like(startLine("us", 7, at.log), { event: "start", door: "http", id: 7 });
});

test("a fault midway is the mesh's own fault, and the stream is lost", async (t) => {
  await using at = await opened();
  const taken = at.backend.nextCall();
  const reading = at.read();
  const call = await taken;
  call.started();
  call.tokens("on");
  call.fail(new Fault("engine-crashed", "gone", { stage: "interrupted" }));
  const thrown = asFault(await t.throwsAsync(reading));
  t.is(thrown.code, "engine-crashed");
  at.log.fail(`${thrown.code}: ${thrown.message}`, 300);
  t.is(endLine("us", 1, at.log).outcome, "lost");
});

test("a refusal passes on whether to try again", async (t) => {
  await using at = await opened();
  const taken = at.backend.nextCall();
  const reading = at.read();
  (await taken).fail(new Fault("overloaded", "full", { retryAfterMs: 1000 }));
  const thrown = asFault(await t.throwsAsync(reading));
  t.true(thrown.retriable);
  t.is(at.log.started, null);
});

test("a gateway that nobody runs is a lost link", async (t) => {
  const door = openAiDoor("x", "http://127.0.0.1:1");
  const first = door.open(question)[Symbol.asyncIterator]().next();
  t.is(asFault(await t.throwsAsync(first as Promise<unknown>)).code, "link-lost");
});
