// The public gRPC service over a scripted backend: conformance, then what only a script can show.
import { constants } from "node:http2";
import { create, toBinary } from "@bufbuild/protobuf";
import test from "ava";
import { Fault } from "../../../proto/fault.ts";
import { GenerateRequestSchema, Inference } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { createClient, messagesOf } from "../../../runtime/grpc/bridge.ts";
import { openChannel } from "../../../runtime/grpc/channel.ts";
import type { ConformanceTarget } from "../../conformance/conformance-target.ts";
import { grpcConformance } from "../../conformance/grpc.ts";
import { eventually } from "../../support/eventually.ts";
import { type FrontendServers, startFrontends } from "../../support/frontend-servers.ts";
import { framed, rawCall, rawConnect } from "../../support/raw-grpc.ts";
import {
  createScriptedBackend,
  type ScriptedCall,
  scriptedModel,
} from "../../support/scripted-backend.ts";

const backend = createScriptedBackend();
let servers: FrontendServers;
let target: ConformanceTarget;

test.before(async () => {
  servers = await startFrontends(backend);
  const { http, grpc } = servers;
  target = { http, grpc, model: scriptedModel, prompt: "say a few words", embeds: true };
});
test.after.always(() => servers.stop());

grpcConformance(test, () => target);

const request = { model: scriptedModel, prompt: { case: "text", value: "hello" } } as const;

/** A server of its own, because a script takes over whichever call comes next. */
async function scripted() {
  const script = createScriptedBackend();
  const own = await startFrontends(script);
  const channel = openChannel(own.grpc);
  const stop = async () => {
    channel.close();
    await own.stop();
  };
  return { script, client: createClient(Inference, channel), stop, servers: own };
}

test("a caller who cancels aborts the backend", async (t) => {
  const { script, client, stop } = await scripted();
  const next = script.nextCall();
  const call = client.generate(request);
  const taken = await next;
  taken.started();
  taken.tokens("one");
  for await (const { event } of messagesOf(call)) if (event.case === "tokens") break;
  await taken.aborted;
  await eventually("the call is settled", () => script.open === 0);
  t.true(taken.context.signal.aborted);
  await stop();
});

test("the caller's deadline reaches the backend", async (t) => {
  const { script, client, stop } = await scripted();
  const next = script.nextCall();
  const deadlineMs = Date.now() + 60_000;
  const call = client.generate(request, { deadlineMs });
  const taken = await next;
  t.true(Math.abs(taken.context.deadlineMs - deadlineMs) < 30_000);
  call.cancel();
  await taken.aborted;
  await stop();
});

test("a fault in the middle keeps what was delivered and tells its code", async (t) => {
  const { script, client, stop } = await scripted();
  const next = script.nextCall();
  const call = client.generate(request);
  const taken = await next;
  taken.started();
  taken.tokens("one");
  taken.fail(new Fault("engine-crashed", "The engine died", { retryAfterMs: 250 }));
  let text = "";
  const read = async () => {
    for await (const { event } of messagesOf(call)) {
      if (event.case === "tokens") text += event.value.text;
    }
  };
  t.like(await t.throwsAsync(read), { code: "engine-crashed", retryAfterMs: 250 });
  t.is(text, "one");
  await stop();
});

test("what an internal fault says stays inside", async (t) => {
  const { script, client, stop } = await scripted();
  const next = script.nextCall();
  const messages = messagesOf(client.generate(request));
  const first = messages.next();
  (await next).fail(new Fault("internal", "/secret/path"));
  t.like(await t.throwsAsync(first), { code: "internal", message: "The server had an error" });
  await stop();
});

test("a reader that never reads is cut off while its buffer is still small", async (t) => {
  const { script, stop, servers: own } = await scripted();
  const next = script.nextCall();
  const body = toBinary(GenerateRequestSchema, create(GenerateRequestSchema, request));
  const session = rawConnect(own.grpc);
  const call = rawCall(session, "/isthmus.v1.Inference/Generate", framed(body));
  const closed = new Promise<number>((resolve) => {
    call.on("close", () => resolve(call.rstCode));
  });
  const taken = await next;
  taken.started();
  const sent = await floodUntilAborted(taken);
  t.true(sent < FLOOD_EVENTS_MAX, `still not cut off after ${sent} events`);
  t.is(await closed, constants.NGHTTP2_ENHANCE_YOUR_CALM);
  t.regex(await own.metrics.text(), /outcome="slow-consumer"[^}]*\} 1/);
  session.destroy();
  await stop();
});

const FLOOD_EVENTS_MAX = 20_000;

/** Sends a kilobyte at a time until the call is aborted. Returns how many that took. */
async function floodUntilAborted(call: ScriptedCall): Promise<number> {
  const text = "x".repeat(1000);
  let sent = 0;
  while (!call.context.signal.aborted && sent < FLOOD_EVENTS_MAX) {
    call.tokens(text);
    sent++;
    if (sent % 64 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  return sent;
}

test("optional fields that a Python client sets to zero arrive as set", async (t) => {
  await eventually("the Python client has asked", () =>
    backend.requests.some(({ maxTokens, sampling }) => maxTokens === 16 && sampling !== undefined),
  );
  const asked = backend.requests.filter(({ sampling }) => sampling !== undefined);
  t.true(asked.every(({ sampling }) => sampling?.temperature !== undefined));
});
