// What can be measured for decode speed: a bare loop, an edge, another server. Each takes a batch
// of prompts at once and says what it made in the window in which all of them decoded.
import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { performance } from "node:perf_hooks";
import { createInterface } from "node:readline";
import { create } from "@bufbuild/protobuf";
import { GenerateRequestSchema, Inference } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { createClient, messagesOf } from "../../runtime/grpc/bridge.ts";
import { openChannel } from "../../runtime/grpc/channel.ts";
import { eventually } from "../support/eventually.ts";
import type { BareBatch, BareStart } from "./bare-loop.ts";
import { type DecodeWindow, decodeWindow, type StreamTimes } from "./decode-window.ts";

const READY_MAX_MS = 120_000;
const root = resolve(import.meta.dirname, "../..");

export interface DecodeSource {
  readonly name: string;
  run(batch: BareBatch): Promise<DecodeWindow>;
  close(): Promise<void>;
}

export async function bareSource(start: BareStart): Promise<DecodeSource> {
  const child = fork(join(import.meta.dirname, "bare-loop.ts"), [JSON.stringify(start)]);
  await once(child, "message");
  return {
    name: "bare loop",
    async run(batch) {
      child.send(batch);
      const [window] = (await once(child, "message")) as [DecodeWindow];
      return window;
    },
    close: () => end(child),
  };
}

/** A whole edge process, called over gRPC. */
export async function edgeSource(start: BareStart): Promise<DecodeSource> {
  const dir = mkdtempSync(join(tmpdir(), "isthmus-bench-"));
  const config = {
    name: "bench-1",
    region: "bench",
    dir,
    engine: { slots: start.slots, contextSize: start.contextSize, threads: start.threads },
    models: [{ model: "bench", path: start.modelPath }],
  };
  writeFileSync(join(dir, "config.json"), JSON.stringify(config));
  const args = [join(root, "edge-node/main.ts"), "--config", join(dir, "config.json")];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "ignore"] });
  const [line] = (await once(createInterface(child.stdout), "line")) as [string];
  const { http, grpc } = JSON.parse(line) as { http: string; grpc: string };
  await eventually(
    "the edge is ready",
    async () => (await fetch(`${http}/readyz`)).ok,
    READY_MAX_MS,
  );
  const channel = openChannel(grpc);
  const client = createClient(Inference, channel);
  const stream = async (text: string, maxTokens: number): Promise<StreamTimes> => {
    const request = create(GenerateRequestSchema, {
      model: "bench",
      prompt: { case: "text", value: text },
      maxTokens,
      sampling: { temperature: 0 },
    });
    const arrivalsMs: number[] = [];
    for await (const { event } of messagesOf(client.generate(request))) {
      if (event.case !== "tokens") continue;
      const nowMs = performance.now();
      for (const _ of event.value.ids) arrivalsMs.push(nowMs);
    }
    return { arrivalsMs };
  };
  return {
    name: "edge",
    async run({ prompts, maxTokens }) {
      return decodeWindow(await Promise.all(prompts.map((text) => stream(text, maxTokens))));
    },
    async close() {
      channel.close();
      await end(child);
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** A llama-server of the user's, with the same model, threads and streams. */
export async function llamaServerSource(path: string, start: BareStart): Promise<DecodeSource> {
  const port = await freePort();
  const args = ["--model", start.modelPath, "--host", "127.0.0.1", "--port", String(port)];
  args.push("--ctx-size", String(start.contextSize * start.slots), "--parallel");
  args.push(String(start.slots), "--threads", String(start.threads), "--no-webui");
  const child = spawn(path, args, { stdio: "ignore" });
  const url = `http://127.0.0.1:${port}`;
  await eventually(
    "llama-server is ready",
    async () => (await fetch(`${url}/health`)).ok,
    READY_MAX_MS,
  );
  const stream = async (prompt: string, maxTokens: number): Promise<StreamTimes> => {
    const body = {
      prompt,
      n_predict: maxTokens,
      temperature: 0,
      stream: true,
      cache_prompt: false,
    };
    const answer = await fetch(`${url}/completion`, {
      method: "POST",
      // It closes a connection after some requests, sometimes under the next one.
      headers: { connection: "close" },
      body: JSON.stringify(body),
    });
    const arrivalsMs: number[] = [];
    for await (const chunk of answer.body!) {
      const nowMs = performance.now();
      const events =
        Buffer.from(chunk)
          .toString("latin1")
          .match(/"stop":\s*false/g) ?? [];
      for (const _ of events) arrivalsMs.push(nowMs);
    }
    return { arrivalsMs };
  };
  return {
    name: "llama-server",
    async run({ prompts, maxTokens }) {
      return decodeWindow(await Promise.all(prompts.map((text) => stream(text, maxTokens))));
    },
    close: () => end(child),
  };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  await exited;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}
