// The engine's process is killed in the middle of a stream, on a real edge with a real engine.
import { copyFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import test from "ava";
import OpenAI from "openai";
import { createLlamaEngine } from "../../../edge-node/engine/llama/llama-engine.ts";
import { EngineBackend } from "../../../edge-node/serving/engine-backend.ts";
import { ServedModels } from "../../../edge-node/serving/served-models.ts";
import {
  GetTopologyResponseSchema,
  RegionAddressSchema,
} from "../../../proto/gen/isthmus/v1/discovery_pb.ts";
import {
  type Finished,
  type GenerateResponse,
  Inference,
  type Started,
} from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { systemClock } from "../../../runtime/clock.ts";
import { discoveryService } from "../../../runtime/frontend/discovery.ts";
import { createClient, messagesOf } from "../../../runtime/grpc/bridge.ts";
import { openChannel } from "../../../runtime/grpc/channel.ts";
import { startGrpcServer } from "../../../runtime/grpc/server.ts";
import { silentLog } from "../../../runtime/log.ts";
import { trunkService } from "../../../runtime/trunk/server.ts";
import { decodeIds } from "../../models/byte-vocabulary.ts";
import { randomModel } from "../../models/tiny-model.ts";
import { eventually } from "../../support/eventually.ts";
import { EdgeProcess } from "../edge-process.ts";
import { summary } from "../serving/served-script.ts";

const TOKENS = 400;
/** Of random weights; see engine.md for why resumed tokens may differ at near-ties. */
const GAP_MAX = 0.05;
const prompt = { case: "text" as const, value: "hello" };

const reference = async () => {
  const modelPath = await randomModel({ contextLength: 4096 });
  const version = { id: "v", adapters: [] };
  return await createLlamaEngine({ modelPath, version, slots: 2, contextSize: 512, threads: 1 });
};

/** A region with another edge behind it, in this process. */
async function startRegion() {
  const engine = await reference();
  const models = new ServedModels();
  const version = { model: "tiny", version: "tiny@0", engine, engineVersion: "v", openedMs: 0 };
  models.activate(version);
  const backend = new EngineBackend({ models, edge: "us-2", region: "us", clock: systemClock });
  const log = silentLog();
  const topology = () =>
    create(GetTopologyResponseSchema, {
      region: "us",
      regions: [
        create(RegionAddressSchema, { region: "us", reachable: true }),
        create(RegionAddressSchema, { region: "eu", grpc: "127.0.0.1:1", reachable: true }),
      ],
    });
  const services = [trunkService(backend, { clock: systemClock, log }), discoveryService(topology)];
  const server = await startGrpcServer({ host: "127.0.0.1", port: 0, services, log });
  const stop = async () => {
    await server.stop();
    await engine.close();
  };
  return { grpc: `127.0.0.1:${server.port}`, engine, stop };
}

/** Streams a completion and kills the edge's engine once `killAt` tokens have come. */
async function streamAndKill(edge: EdgeProcess, killAt: number) {
  const channel = openChannel(edge.grpc);
  const asked = { model: "tiny", prompt, maxTokens: TOKENS, sampling: { temperature: 0 } };
  const events: GenerateResponse[] = [];
  let seen = 0;
  try {
    for await (const event of messagesOf(createClient(Inference, channel).generate(asked))) {
      events.push(event);
      if (event.event.case === "tokens") seen += event.event.value.ids.length;
      const [engine] = edge.enginePids;
      if (seen >= killAt && engine !== undefined && killAt > 0) {
        process.kill(engine, "SIGKILL");
        killAt = Number.POSITIVE_INFINITY;
      }
    }
  } finally {
    channel.close();
  }
  const { started, finished, ...told } = summary(events);
  return { ...told, started: started as Started, finished: finished as Finished };
}

test.serial(
  "with a region there, the stream goes on at another edge, token by token as it should",
  async (t) => {
    const region = await startRegion();
    const path = await randomModel({ contextLength: 4096 });
    const edge = await EdgeProcess.start({
      models: [{ model: "tiny", path }],
      gateway: { http: "http://127.0.0.1:1", grpc: region.grpc },
    });
    t.teardown(async () => {
      await edge.destroy();
      await region.stop();
    });
    await edge.ready();
    const { ids, text, started, finished } = await streamAndKill(edge, 50);
    t.is(started.edge, "us-1");
    t.is(ids.length, TOKENS);
    t.is(finished.completionTokens, TOKENS);
    t.like(finished.moves[0], { fromEdge: "us-1", toEdge: "us-2", cause: "engine-crashed" });
    t.is(decodeIds(ids), text, "the text is that of the tokens");
    const engine = { kind: "text" as const, text: prompt.value };
    const scores = await region.engine.score(engine, ids, new AbortController().signal);
    const worst = Math.max(...scores.map(({ gap }) => gap));
    t.true(worst <= GAP_MAX, `every token is the argmax, up to ${worst}`);
    await edge.ready();
    const next = await streamAndKill(edge, 0);
    t.is(next.started.edge, "us-1");
    t.is(next.finished.moves.length, 0);
    t.is(await edge.metric("isthmus_engine_restarts"), 1);
  },
);

test.serial("alone, the stream goes on here once the engine is back", async (t) => {
  const path = await randomModel({ contextLength: 4096 });
  const edge = await EdgeProcess.start({ models: [{ model: "tiny", path }] });
  t.teardown(() => edge.destroy());
  await edge.ready();
  const whole = await streamAndKill(edge, 0);
  const { ids, finished } = await streamAndKill(edge, 50);
  t.is(ids.length, TOKENS);
  t.like(finished.moves[0], { fromEdge: "us-1", toEdge: "us-1", cause: "engine-crashed" });
  t.deepEqual(ids.slice(0, 50), whole.ids.slice(0, 50));
});

test.serial(
  "when nobody can go on, the stream ends with an error and never looks finished",
  async (t) => {
    const path = join(tmpdir(), `isthmus-doomed-${process.pid}.gguf`);
    await copyFile(await randomModel({ contextLength: 4096 }), path);
    const edge = await EdgeProcess.start({ models: [{ model: "tiny", path }] });
    t.teardown(() => edge.destroy());
    await edge.ready();
    const openai = new OpenAI({ baseURL: `${edge.http}/v1`, apiKey: "none", maxRetries: 0 });
    const stream = await openai.completions.create({
      model: "tiny",
      prompt: "hello",
      max_tokens: TOKENS,
      stream: true,
    });
    await rm(path);
    const reasons: unknown[] = [];
    const reading = (async () => {
      let isKilled = false;
      for await (const { choices } of stream) {
        reasons.push(choices[0]?.finish_reason);
        if (!isKilled) for (const pid of edge.enginePids) process.kill(pid, "SIGKILL");
        isKilled = true;
      }
    })();
    await t.throwsAsync(reading);
    t.true(reasons.every((reason) => reason === null));
    await eventually("new requests are refused", async () => {
      const asked = { model: "tiny", prompt: "hello", max_tokens: 1 };
      const refused = await openai.completions.create(asked).catch((thrown) => thrown);
      return refused.status === 503 || refused.status === 404;
    });
    t.is((await fetch(`${edge.http}/healthz`)).status, 200);
    t.is((await fetch(`${edge.http}/readyz`)).status, 503);
  },
);
