// The edges of HTTP under the OpenAI routes: bodies in pieces, too large, too slow, cut, or none.
import test from "ava";
import { eventually } from "../../../support/eventually.ts";
import { type FrontendServers, startFrontends } from "../../../support/frontend-servers.ts";
import { ManualClock } from "../../../support/manual-clock.ts";
import { rawAll, rawPost, rawSocket } from "../../../support/raw-http.ts";
import { createScriptedBackend, scriptedModel } from "../../../support/scripted-backend.ts";

const backend = createScriptedBackend();
const clock = new ManualClock();
let servers: FrontendServers;

test.before(async () => {
  servers = await startFrontends(backend, clock);
});
test.after.always(() => servers.stop());

const path = "/v1/chat/completions";
const chat = JSON.stringify({
  model: scriptedModel,
  messages: [{ role: "user", content: "grüße 😀" }],
});
const json = { "content-type": "application/json" };

test("a body in pieces of one byte is put together", async (t) => {
  const socket = rawSocket(servers.http);
  const answer = rawAll(socket);
  for (const byte of Buffer.from(rawPost(path, chat, "connection: close\r\n"))) {
    socket.write(Uint8Array.of(byte));
  }
  t.regex(await answer, /^HTTP\/1\.1 200 /);
  t.true(
    backend.requests.some(
      ({ prompt: { case: kind, value } }) =>
        kind === "chat" && value.messages[0]?.content === "grüße 😀",
    ),
  );
});

test("requests on one connection are answered in order", async (t) => {
  const socket = rawSocket(servers.http);
  const answer = rawAll(socket);
  socket.write(rawPost(path, "{") + rawPost(path, chat, "connection: close\r\n"));
  const codes = [...(await answer).matchAll(/HTTP\/1\.1 (\d+) /g)].map(([, code]) => code);
  t.deepEqual(codes, ["400", "200"]);
});

const streamed = chat.replace("{", '{"stream":true,');

/** The events of a body in chunks, each of which must be as long as it says. */
function chunkedEvents(answer: string): { readonly events: string[]; readonly rest: string } {
  let bytes = Buffer.from(answer.slice(answer.indexOf("\r\n\r\n") + 4), "utf8");
  const events: string[] = [];
  for (;;) {
    const line = bytes.indexOf("\r\n");
    const length = Number.parseInt(bytes.subarray(0, line).toString(), 16);
    const end = line + 2 + length;
    if (!(length >= 0) || bytes.subarray(end, end + 2).toString() !== "\r\n") {
      throw new Error(`a broken chunk: ${bytes.subarray(0, 40).toString()}`);
    }
    if (length === 0) return { events, rest: bytes.subarray(end + 2).toString() };
    events.push(bytes.subarray(line + 2, end).toString());
    bytes = bytes.subarray(end + 2);
  }
}

test("streams on one connection come whole and in order, sent ahead or not", async (t) => {
  backend.reply = () => ["grüße", " 😀", " \u2028 "];
  const socket = rawSocket(servers.http);
  const answer = rawAll(socket);
  const last = rawPost(path, streamed, "connection: close\r\n");
  socket.write(rawPost(path, streamed) + rawPost(path, streamed) + last);
  let rest = await answer;
  for (let at = 0; at < 3; at++) {
    t.regex(rest, /^HTTP\/1\.1 200 [\s\S]*?transfer-encoding: chunked/i);
    const read = chunkedEvents(rest);
    t.true(read.events[1]?.includes('"content":"grüße"'));
    t.true(read.events[2]?.includes('"content":" 😀"'));
    t.is(read.events.at(-1), "data: [DONE]\n\n");
    rest = read.rest;
  }
  t.is(rest, "");
});

test("a stream over HTTP/1.0 is not in chunks", async (t) => {
  const socket = rawSocket(servers.http);
  const answer = rawAll(socket);
  socket.write(rawPost(path, streamed).replace("HTTP/1.1", "HTTP/1.0"));
  const [head, body] = splitOnce(await answer, "\r\n\r\n");
  t.notRegex(head, /chunked/i);
  t.regex(body, /^data: \{[\s\S]*data: \[DONE\]\n\n$/);
  t.notRegex(body, /\r/);
});

function splitOnce(text: string, by: string): readonly [string, string] {
  const at = text.indexOf(by);
  return [text.slice(0, at), text.slice(at + by.length)];
}

test("a body beyond the bound is a 413, announced or not", async (t) => {
  const body = "x".repeat(2 << 20);
  const announced = await fetch(servers.http + path, { method: "POST", headers: json, body });
  t.is(announced.status, 413);
  t.like(await announced.json(), { error: { code: "request_too_large", param: null } });
  const socket = rawSocket(servers.http);
  const answer = rawAll(socket);
  const head = `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n`;
  const piece = `${(1 << 20).toString(16)}\r\n${"x".repeat(1 << 20)}\r\n`;
  socket.write(`${head}transfer-encoding: chunked\r\n\r\n${piece}${piece}`);
  t.regex(await answer, /^HTTP\/1\.1 413 /);
});

test.serial("a body that doesn't arrive in time is a 408", async (t) => {
  const socket = rawSocket(servers.http);
  const answer = rawAll(socket);
  const timers = clock.timers;
  socket.write(rawPost(path, chat).slice(0, -1));
  await eventually("the server waits for the body", () => clock.timers > timers);
  clock.advance(30_000);
  t.regex(await answer, /^HTTP\/1\.1 408 /);
});

test.serial("a body that is cut short leaves nothing behind", async (t) => {
  const timers = clock.timers;
  const socket = rawSocket(servers.http);
  socket.write(rawPost(path, chat).slice(0, -1));
  await eventually("the server waits for the body", () => clock.timers > timers);
  socket.destroy();
  await eventually("the server has given up", () => clock.timers === timers);
  t.is(backend.open, 0);
});

test("other content types, methods and paths get OpenAI's shape", async (t) => {
  const form = await fetch(servers.http + path, { method: "POST", body: chat });
  t.is(form.status, 415);
  t.like(await form.json(), { error: { code: "unsupported_content_type" } });
  const got = await fetch(servers.http + path);
  t.is(got.status, 405);
  t.like(await got.json(), { error: { code: "method_not_supported" } });
  const lost = await fetch(`${servers.http}/v1/nothing`, { method: "POST", body: chat });
  t.is(lost.status, 404);
  t.like(await lost.json(), { error: { code: "unknown_url", type: "invalid_request_error" } });
});

test("half surrogates and deep nesting are taken or refused, never a 5xx", async (t) => {
  const post = (body: string) =>
    fetch(servers.http + path, { method: "POST", headers: json, body }).then((r) => r.status);
  const half = chat.replace("gr", "\\ud800");
  t.is(await post(half), 200);
  const deep = `{"type":"json_schema","json_schema":{"name":"a","schema":${nested(50_000)}}}`;
  t.is(await post(chat.replace("{", `{"response_format":${deep},`)), 400);
  t.is(await post(nested(100_000)), 400);
  t.is(await post('{"__proto__":{"model":"x"},"constructor":1}'), 400);
});

const nested = (depth: number): string => `${'{"a":'.repeat(depth)}1${"}".repeat(depth)}`;
