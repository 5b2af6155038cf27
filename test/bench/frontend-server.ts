// The server process of the frontend bench: all its streams get one token a step, through one of
// our frontends or through nothing but the library under it. Run by frontend.ts.
import { createServer, type ServerResponse } from "node:http";
import { create } from "@bufbuild/protobuf";
import type { ServerWritableStream } from "@grpc/grpc-js";
import { Hono } from "hono";
import {
  type GenerateRequest,
  type GenerateResponse,
  GenerateResponseSchema,
  Inference,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { systemClock } from "../../runtime/clock.ts";
import { inferenceService } from "../../runtime/frontend/grpc-inference.ts";
import { openAiRoutes } from "../../runtime/frontend/openai/routes.ts";
import { type BoundService, bindService } from "../../runtime/grpc/bridge.ts";
import { startGrpcServer } from "../../runtime/grpc/server.ts";
import { startHttpServer } from "../../runtime/http/server.ts";
import type { InferenceBackend } from "../../runtime/inference/backend.ts";
import { silentLog } from "../../runtime/log.ts";
import { createMetrics } from "../../runtime/metrics.ts";

export type BenchMode = "http-bare" | "http-openai" | "grpc-bare" | "grpc-inference";

export interface BenchUsage {
  readonly cpuMicros: number;
  readonly tokens: number;
}

const STEP_MS = 20; // 50 tokens a second for each stream
const TOKENS_PER_STREAM = 150;
const TEXT = " token";

let tokens = 0;
/** What each stream does in a step; returns false once it has ended. */
const streams = new Set<(index: number) => void>();
const indices = new Map<(index: number) => void, number>();

systemClock.every(STEP_MS, () => {
  for (const step of streams) {
    const index = indices.get(step) ?? 0;
    indices.set(step, index + 1);
    if (index < TOKENS_PER_STREAM) tokens++;
    step(index);
  }
});

function drop(step: (index: number) => void): void {
  streams.delete(step);
  indices.delete(step);
}

const started = create(GenerateResponseSchema, {
  event: { case: "started", value: { model: "m", version: "m@1", edge: "e", region: "r" } },
});
const finished = create(GenerateResponseSchema, {
  event: { case: "finished", value: { completionTokens: TOKENS_PER_STREAM } },
});
const tokenEvent = (index: number): GenerateResponse =>
  create(GenerateResponseSchema, {
    event: { case: "tokens", value: { index, ids: [index], text: TEXT } },
  });

/** Runs one stream to its end. */
function paced(onEvent: (event: GenerateResponse) => void): Promise<void> {
  onEvent(started);
  return new Promise((resolve) => {
    const step = (index: number): void => {
      if (index < TOKENS_PER_STREAM) {
        onEvent(tokenEvent(index));
        return;
      }
      drop(step);
      onEvent(finished);
      resolve();
    };
    streams.add(step);
  });
}

const backend = {
  generate: (_request, _context, onEvent) => paced(onEvent),
} as Partial<InferenceBackend> as InferenceBackend;

const host = "127.0.0.1";
const log = silentLog();
const options = { backend, log, metrics: createMetrics({ role: "bench" }), clock: systemClock };

/** The same bytes as our frontend's chunks, written by nothing but node. */
const bareChunk =
  `data: {"id":"chatcmpl-00000000-0000-0000-0000-000000000000","object":"chat.completion.chunk",` +
  `"created":1700000000,"model":"m","system_fingerprint":"m@1","choices":[{"index":0,"delta":` +
  `{"content":" token"},"logprobs":null,"finish_reason":null}]}\n\n`;

function bareHttp(): Promise<number> {
  const answer = (response: ServerResponse): void => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    const step = (index: number): void => {
      if (index < TOKENS_PER_STREAM) return void response.write(bareChunk);
      drop(step);
      response.end("data: [DONE]\n\n");
    };
    streams.add(step);
  };
  const server = createServer((request, response) => {
    request.resume().on("end", () => answer(response));
  });
  return new Promise((resolve) => {
    server.listen(0, host, () => resolve((server.address() as { port: number }).port));
  });
}

const bareGrpc = (): BoundService =>
  bindService(Inference, {
    generate: (call: ServerWritableStream<GenerateRequest, GenerateResponse>) =>
      paced((event) => void call.write(event)),
    embed: async () => ({}),
    score: async () => ({}),
    listModels: async () => ({}),
  });

async function listen(mode: BenchMode): Promise<number> {
  if (mode === "http-bare") return bareHttp();
  if (mode === "http-openai") {
    const app = new Hono();
    app.route("/", openAiRoutes(options));
    return (await startHttpServer({ host, port: 0, app, log })).port;
  }
  const service = mode === "grpc-bare" ? bareGrpc() : inferenceService(options);
  return (await startGrpcServer({ host, port: 0, services: [service], log })).port;
}

process.on("message", () => {
  const { user, system } = process.cpuUsage();
  process.send?.({ cpuMicros: user + system, tokens } satisfies BenchUsage);
});
process.on("disconnect", () => process.exit());
process.send?.(await listen(process.argv[2] as BenchMode));
