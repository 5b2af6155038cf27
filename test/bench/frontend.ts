// How much CPU a token costs in our frontends, against the bare libraries in the same run.
// Run: node test/bench/frontend.ts
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Inference } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { createClient, messagesOf } from "../../runtime/grpc/bridge.ts";
import { openChannel } from "../../runtime/grpc/channel.ts";
import { rawAll, rawPost, rawSocket } from "../support/raw-http.ts";
import type { BenchMode, BenchUsage } from "./frontend-server.ts";

const STREAMS = 128;
const ROUNDS = 3;
const serverFile = fileURLToPath(new URL("frontend-server.ts", import.meta.url));

const body = JSON.stringify({
  model: "m",
  stream: true,
  messages: [{ role: "user", content: "hello" }],
});

/** Reads one whole stream. */
type ReadStream = () => Promise<void>;

function readerOf(mode: BenchMode, port: number): { read: ReadStream; close(): void } {
  if (mode.startsWith("http")) {
    const post = rawPost("/v1/chat/completions", body, "connection: close\r\n");
    const read = async (): Promise<void> => {
      const socket = rawSocket(`http://127.0.0.1:${port}`);
      socket.write(post);
      const text = await rawAll(socket);
      if (!text.includes("[DONE]")) throw new Error(`a stream was cut: ${text.slice(0, 200)}`);
    };
    return { read, close: () => {} };
  }
  const channel = openChannel(`127.0.0.1:${port}`);
  const client = createClient(Inference, channel);
  const prompt = { case: "text", value: "hello" } as const;
  const read = async (): Promise<void> => {
    for await (const _ of messagesOf(client.generate({ model: "m", prompt })));
  };
  return { read, close: () => channel.close() };
}

async function usageOf(server: ChildProcess): Promise<BenchUsage> {
  server.send("usage");
  const [usage] = (await once(server, "message")) as [BenchUsage];
  return usage;
}

/** CPU microseconds of the server for each token, in steady state. */
async function measure(mode: BenchMode): Promise<number> {
  const server = fork(serverFile, [mode]);
  const [port] = (await once(server, "message")) as [number];
  const { read, close } = readerOf(mode, port);
  const all = () => Promise.all(Array.from({ length: STREAMS }, read));
  await all(); // warm up
  const before = await usageOf(server);
  for (let round = 0; round < ROUNDS; round++) await all();
  const after = await usageOf(server);
  close();
  server.disconnect();
  await once(server, "exit");
  return (after.cpuMicros - before.cpuMicros) / (after.tokens - before.tokens);
}

const pairs = [
  ["http-bare", "http-openai"],
  ["grpc-bare", "grpc-inference"],
] as const;

export interface FrontendCost {
  readonly bench: string;
  readonly streams: number;
  readonly cpuMicrosPerToken: number;
  readonly bareCpuMicrosPerToken: number;
  readonly ratio: number;
}

/** Measures each frontend beside its bare library. */
export async function* measureFrontends(): AsyncGenerator<FrontendCost> {
  for (const [bare, ours] of pairs) {
    const [bareMicros, oursMicros] = [await measure(bare), await measure(ours)];
    yield {
      bench: ours,
      streams: STREAMS,
      cpuMicrosPerToken: Number(oursMicros.toFixed(1)),
      bareCpuMicrosPerToken: Number(bareMicros.toFixed(1)),
      ratio: Number((oursMicros / bareMicros).toFixed(2)),
    };
  }
}

if (import.meta.main) {
  for await (const cost of measureFrontends()) process.stdout.write(`${JSON.stringify(cost)}\n`);
}
