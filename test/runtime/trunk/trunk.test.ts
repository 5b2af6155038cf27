// Trunks over real gRPC on loopback, with peers in this process and in one that can be frozen.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { create } from "@bufbuild/protobuf";
import test, { type ExecutionContext } from "ava";
import { Fault } from "../../../proto/fault.ts";
import {
  EmbedRequestSchema,
  type GenerateRequest,
  GenerateRequestSchema,
} from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import {
  type OpenRequest,
  OpenResponseSchema,
  Trunk as TrunkDesc,
} from "../../../proto/gen/isthmus/v1/trunk_pb.ts";
import { systemClock } from "../../../runtime/clock.ts";
import { inferenceService } from "../../../runtime/frontend/grpc-inference.ts";
import { bindService } from "../../../runtime/grpc/bridge.ts";
import { type GrpcServer, startGrpcServer } from "../../../runtime/grpc/server.ts";
import type { CallContext, InferenceBackend } from "../../../runtime/inference/backend.ts";
import { Inquiry } from "../../../runtime/inference/inquiry.ts";
import { silentLog } from "../../../runtime/log.ts";
import { createMetrics } from "../../../runtime/metrics.ts";
import { SILENT_TICKS_MAX, TICK_MS } from "../../../runtime/trunk/bounds.ts";
import { createTrunk } from "../../../runtime/trunk/client.ts";
import { trunkService } from "../../../runtime/trunk/server.ts";
import type { Trunk } from "../../../runtime/trunk/trunk.ts";
import { eventually } from "../../support/eventually.ts";
import { pacedBackend, pacedTruth } from "../../support/paced-backend.ts";
import { Caller } from "../continuation/scripted-source.ts";

const log = silentLog();
const clock = systemClock;
const hello = { peer: "test", role: "region", region: "us" };

async function serve(backend: InferenceBackend, port = 0): Promise<GrpcServer> {
  const metrics = createMetrics({});
  const services = [
    trunkService(backend, { clock, log }),
    inferenceService({ backend, log, metrics, clock }),
  ];
  return startGrpcServer({ host: "127.0.0.1", port, services, log });
}

async function connect(t: ExecutionContext, port: number, streams = 1): Promise<Trunk> {
  const trunk = createTrunk({ address: `127.0.0.1:${port}`, hello, clock, log, streams });
  t.teardown(() => trunk.close());
  await eventually("the trunk is up", () => trunk.state === "up");
  return trunk;
}

function requestFor(maxTokens: number): GenerateRequest {
  return create(GenerateRequestSchema, {
    model: "m",
    prompt: { case: "text", value: "p" },
    maxTokens,
  });
}

function context(signal: AbortSignal = new AbortController().signal): CallContext {
  return { signal, requestId: "r-1", visitedRegions: ["eu"], deadlineMs: Infinity };
}

test("many completions share a trunk, each whole and in order", async (t) => {
  const backend = pacedBackend({ edge: "e" });
  const server = await serve(backend);
  t.teardown(() => server.stop());
  const trunk = await connect(t, server.port, 2);
  const callers = Array.from({ length: 200 }, () => new Caller());
  await Promise.all(
    callers.map((caller) => trunk.generate(requestFor(40), context(), caller.onEvent)),
  );
  const truth = pacedTruth(40);
  for (const caller of callers) {
    t.deepEqual(caller.trouble, []);
    t.deepEqual(caller.ids, truth.ids);
    t.is(caller.text, truth.text);
    t.is(caller.finished?.case, "finished");
  }
  t.is(trunk.inFlight, 0);
  await eventually("the round trip is measured", () => trunk.rttMs > 0);
  t.deepEqual(backend.taken[0]?.context.visitedRegions, ["eu"]);
  t.is(backend.taken[0]?.context.requestId, "r-1");
});

test("a cancel travels in band: the peer's engine stops, the trunk lives on", async (t) => {
  const backend = pacedBackend({ edge: "e", intervalMs: 1 });
  const server = await serve(backend);
  t.teardown(() => server.stop());
  const trunk = await connect(t, server.port);
  const hangUp = new AbortController();
  const endless = trunk.generate(requestFor(1_000_000), context(hangUp.signal), () => {});
  await eventually("it runs", () => backend.active === 1);
  hangUp.abort();
  t.is((await t.throwsAsync(endless, { instanceOf: Fault })).code, "cancelled");
  await eventually("the engine stopped", () => backend.active === 0);
  await trunk.generate(requestFor(3), context(), () => {});
  t.is(trunk.state, "up");
});

test("a completion given up for a reason rejects with it, and the peer stops", async (t) => {
  const backend = pacedBackend({ edge: "e", intervalMs: 1 });
  const server = await serve(backend);
  t.teardown(() => server.stop());
  const trunk = await connect(t, server.port);
  const giveUp = new AbortController();
  const endless = trunk.generate(requestFor(1_000_000), context(giveUp.signal), () => {});
  await eventually("it runs", () => backend.active === 1);
  giveUp.abort(new Fault("engine-crashed", "no word of the engine's process"));
  t.is((await t.throwsAsync(endless, { instanceOf: Fault })).code, "engine-crashed");
  await eventually("the engine stopped", () => backend.active === 0);
});

test("a fault keeps its code, hint and field across the trunk", async (t) => {
  const backend = pacedBackend({ edge: "e" });
  const server = await serve(backend);
  t.teardown(() => server.stop());
  const trunk = await connect(t, server.port);
  backend.failWith(new Fault("overloaded", "full", { retryAfterMs: 250, param: "x" }));
  const run = () => trunk.generate(requestFor(3), context(), () => {});
  const fault = await t.throwsAsync(run, { instanceOf: Fault });
  t.like(fault, { code: "overloaded", message: "full", retryAfterMs: 250, param: "x" });
  const bad = create(GenerateRequestSchema, { model: "../x" });
  const refused = t.throwsAsync(
    trunk.generate(bad, context(), () => {}),
    { instanceOf: Fault },
  );
  t.is((await refused).code, "invalid-argument");
});

test("a question travels in band to whoever works on the completion", async (t) => {
  const backend = pacedBackend({ edge: "e", intervalMs: 1 });
  let silentMs = 0;
  const server = await serve({
    ...backend,
    generate(request, around, onEvent) {
      around.inquiry?.answeredBy(() => ({ phase: "generating", silentMs }));
      return backend.generate(request, around, onEvent);
    },
  });
  t.teardown(() => server.stop());
  const trunk = await connect(t, server.port);
  const hangUp = new AbortController();
  const inquiry = new Inquiry();
  t.deepEqual(await inquiry.ask(), { phase: "waiting", silentMs: 0 });
  const asked = { ...context(hangUp.signal), inquiry };
  const endless = trunk.generate(requestFor(1_000_000), asked, () => {});
  t.deepEqual(await inquiry.ask(), { phase: "generating", silentMs: 0 });
  silentMs = 1234;
  const both = await Promise.all([inquiry.ask(), inquiry.ask()]);
  t.deepEqual(both, [both[0], both[0]]);
  t.like(both[0], { phase: "generating", silentMs: 1234 });
  hangUp.abort();
  await t.throwsAsync(endless);
  t.is(await inquiry.ask(), null, "it is over");
});

test("a consumer that refuses an event cancels its own completion only", async (t) => {
  const backend = pacedBackend({ edge: "e", intervalMs: 1 });
  const server = await serve(backend);
  t.teardown(() => server.stop());
  const trunk = await connect(t, server.port);
  const caller = new Caller();
  const fine = trunk.generate(requestFor(30), context(), caller.onEvent);
  const refusing = trunk.generate(requestFor(1_000_000), context(), () => {
    throw new Fault("slow-consumer", "full");
  });
  t.is((await t.throwsAsync(refusing, { instanceOf: Fault })).code, "slow-consumer");
  await fine;
  t.is(caller.ids.length, 30);
  await eventually("both ended", () => backend.active === 0);
});

test("unary calls go beside the streams, and fail at once when the trunk is down", async (t) => {
  const server = await serve(pacedBackend({ edge: "e" }));
  const trunk = await connect(t, server.port);
  const request = create(EmbedRequestSchema, { model: "m", inputs: ["abc"] });
  const answer = await trunk.embed(request, context());
  t.deepEqual(answer.embeddings[0]?.values, [3, 1]);
  await server.stop();
  await eventually("the trunk is down", () => trunk.state === "down");
  const fault = await t.throwsAsync(trunk.embed(request, context()), { instanceOf: Fault });
  t.is(fault.code, "link-lost");
});

test("it reconnects by itself when the peer is back on its address", async (t) => {
  const first = await serve(pacedBackend({ edge: "e" }));
  const trunk = await connect(t, first.port);
  const states: string[] = [];
  trunk.onState((state) => states.push(state));
  await first.stop();
  await eventually("it noticed", () => trunk.state === "down");
  const second = await serve(pacedBackend({ edge: "e2" }), first.port);
  t.teardown(() => second.stop());
  await eventually("it is up again", () => trunk.state === "up");
  await trunk.generate(requestFor(2), context(), () => {});
  t.deepEqual(states, ["down", "up"]);
});

test("closing the trunk rejects what is in flight and stops the peer's work", async (t) => {
  const backend = pacedBackend({ edge: "e", intervalMs: 1 });
  const server = await serve(backend);
  t.teardown(() => server.stop());
  const trunk = await connect(t, server.port);
  const endless = trunk.generate(requestFor(1_000_000), context(), () => {});
  await eventually("it runs", () => backend.active === 1);
  trunk.close();
  t.is((await t.throwsAsync(endless, { instanceOf: Fault })).code, "link-lost");
  await eventually("the engine stopped", () => backend.active === 0);
});

test("a peer whose connection lives but that answers nothing is lost all the same", async (t) => {
  const mute = bindService(TrunkDesc, {
    async open(call, scope) {
      call.on("data", ({ message }: OpenRequest) => {
        // Once, so that the trunk comes up.
        if (message.case === "ping" && message.value.nonce === 1) {
          call.write(create(OpenResponseSchema, { pong: message.value }));
        }
      });
      await new Promise((resolve) => scope.signal.addEventListener("abort", resolve));
    },
  });
  const server = await startGrpcServer({ host: "127.0.0.1", port: 0, services: [mute], log });
  t.teardown(() => server.stop());
  const trunk = await connect(t, server.port);
  const stream = trunk.generate(requestFor(3), context(), () => {});
  const fault = await t.throwsAsync(stream, { instanceOf: Fault });
  t.is(fault.code, "link-lost");
  t.regex(fault.message, /said nothing/);
});

for (const signal of ["SIGSTOP", "SIGKILL"] as const) {
  test.serial(`a peer that gets ${signal} midway is lost within two seconds`, async (t) => {
    const { child, port } = await startPeer(t);
    const trunk = await connect(t, port);
    const caller = new Caller();
    const streams = Array.from({ length: 5 }, () =>
      trunk.generate(requestFor(1_000_000), context(), caller.started ? () => {} : caller.onEvent),
    );
    await eventually("tokens flow", () => caller.ids.length > 20);
    const atMs = clock.monotonicMs();
    child.kill(signal);
    const outcomes = await Promise.allSettled(streams);
    const tookMs = clock.monotonicMs() - atMs;
    for (const outcome of outcomes) {
      if (outcome.status !== "rejected") throw new Error("it went on");
      t.is((outcome.reason as Fault).code, "link-lost");
      t.true((outcome.reason as Fault).retriable);
    }
    t.log(`noticed after ${Math.round(tookMs)} ms`);
    t.is(trunk.state, "down");
    t.true((SILENT_TICKS_MAX + 1) * TICK_MS < 2000, "the bound that the log line shows kept");
  });
}

async function startPeer(t: ExecutionContext): Promise<{ child: ChildProcess; port: number }> {
  const file = new URL("./peer-process.ts", import.meta.url).pathname;
  const child = spawn(process.execPath, [file], { stdio: ["pipe", "pipe", "inherit"] });
  t.teardown(() => child.kill("SIGKILL"));
  const [line] = (await once(child.stdout!, "data")) as [Buffer];
  return { child, port: Number(line.toString()) };
}
