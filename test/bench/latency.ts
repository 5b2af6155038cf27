// What a caller waits for and what it costs: time to first token and between tokens through an edge
// and through a gateway, the gateway's CPU time a token, and the memory of each role.
import { performance } from "node:perf_hooks";
import type { MeshProcess } from "../../deploy/local/mesh-state.ts";
import { grpcDoor, type OpenStream, prompts } from "../e2e/stream-set.ts";
import { startTestMesh } from "../e2e/test-mesh.ts";
import { childrenOf, cpuMsOf, residentBytesOf } from "../support/process-usage.ts";
import { percentile } from "./statistics.ts";

export interface LatencyOptions {
  readonly requests: number;
  readonly concurrency: number;
}

export interface DoorLatency {
  readonly door: string;
  readonly concurrency: number;
  readonly ttftP50Ms: number;
  readonly ttftP99Ms: number;
  readonly interTokenP50Ms: number;
  readonly interTokenP99Ms: number;
}

export interface LatencyResult {
  readonly doors: readonly DoorLatency[];
  readonly gatewayCpuUsPerToken: number;
  readonly rssMb: Readonly<Record<string, number>>;
}

interface Sample {
  readonly ttftMs: number;
  readonly gapsMs: readonly number[];
  readonly tokens: number;
}

export async function benchLatency(
  { requests, concurrency }: LatencyOptions,
  say: (line: string) => void,
): Promise<LatencyResult> {
  await using mesh = await startTestMesh({ regions: ["us"], edges: 1 });
  const doors: DoorLatency[] = [];
  let gatewayCpuUsPerToken = Number.NaN;
  for (const streams of [1, concurrency]) {
    for (const [door, name] of [
      ["edge", "us-1"],
      ["gateway", "us"],
    ] as const) {
      const { open, close } = grpcDoor(mesh.grpc(name));
      await load(open, streams, streams); // warms up
      const cpuMs = cpuMsOf(mesh.handle.process("us").pid);
      const samples = await load(open, requests, streams);
      const usedMs = cpuMsOf(mesh.handle.process("us").pid) - cpuMs;
      close();
      const result = summary(door, streams, samples);
      doors.push(result);
      say(
        `${door}, ${streams} at once: TTFT p50 ${result.ttftP50Ms.toFixed(1)} ms ` +
          `p99 ${result.ttftP99Ms.toFixed(1)} ms, between tokens p50 ` +
          `${result.interTokenP50Ms.toFixed(2)} ms p99 ${result.interTokenP99Ms.toFixed(2)} ms`,
      );
      if (door === "gateway" && streams === concurrency) {
        const tokens = samples.reduce((sum, sample) => sum + sample.tokens, 0);
        gatewayCpuUsPerToken = (1000 * usedMs) / tokens;
      }
    }
  }
  say(`gateway: ${gatewayCpuUsPerToken.toFixed(0)} µs of CPU a token (heartbeats included)`);
  const rssMb = memoryOf(mesh.handle.state.processes);
  for (const [role, mb] of Object.entries(rssMb)) say(`${role}: ${mb.toFixed(0)} MB resident`);
  return { doors, gatewayCpuUsPerToken, rssMb };
}

async function load(open: OpenStream, requests: number, concurrency: number): Promise<Sample[]> {
  const wanted = prompts(Math.min(requests, 200));
  const samples: Sample[] = [];
  let next = 0;
  const worker = async () => {
    while (next < requests) {
      const prompt = wanted[next++ % wanted.length]!;
      samples.push(await sample(open, prompt));
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  return samples;
}

async function sample(open: OpenStream, prompt: string): Promise<Sample> {
  const startMs = performance.now();
  const arrivalsMs: number[] = [];
  let tokens = 0;
  for await (const { event } of open(prompt)) {
    if (event.case !== "tokens") continue;
    arrivalsMs.push(performance.now());
    tokens += event.value.ids.length;
  }
  const gapsMs = arrivalsMs.slice(1).map((atMs, at) => atMs - arrivalsMs[at]!);
  return { ttftMs: (arrivalsMs[0] ?? Number.NaN) - startMs, gapsMs, tokens };
}

function summary(door: string, concurrency: number, samples: readonly Sample[]): DoorLatency {
  const ttfts = samples.map(({ ttftMs }) => ttftMs);
  const gaps = samples.flatMap(({ gapsMs }) => gapsMs);
  return {
    door,
    concurrency,
    ttftP50Ms: percentile(ttfts, 0.5),
    ttftP99Ms: percentile(ttfts, 0.99),
    interTokenP50Ms: percentile(gaps, 0.5),
    interTokenP99Ms: percentile(gaps, 0.99),
  };
}

function memoryOf(processes: readonly MeshProcess[]): Record<string, number> {
  const rssMb: Record<string, number> = {};
  for (const { role, pid } of processes) {
    const mb = residentBytesOf(pid) / 2 ** 20;
    rssMb[role] = Math.max(rssMb[role] ?? 0, mb);
    for (const child of childrenOf(pid)) {
      const key = `${role}'s engine`;
      rssMb[key] = Math.max(rssMb[key] ?? 0, residentBytesOf(child) / 2 ** 20);
    }
  }
  return rssMb;
}
