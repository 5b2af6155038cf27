// How many bytes a second all cores together move through memory: the yardstick of the sums.
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { MemoryTurns, MemoryWay, MemoryWork } from "./memory-worker.ts";

/** GB/s of each turn, on all cores at once. */
export async function measureMemory(way: MemoryWay, turns: number): Promise<readonly number[]> {
  const threads = availableParallelism();
  const arrived = new Int32Array(new SharedArrayBuffer(turns * Int32Array.BYTES_PER_ELEMENT));
  const all = await Promise.all(
    Array.from({ length: threads }, () => runWorker({ way, turns, threads, arrived })),
  );
  return Array.from({ length: turns }, (_, turn) => {
    const spans = all.map((one) => one.spans[turn]!);
    const startMs = Math.min(...spans.map((span) => span.startMs));
    const endMs = Math.max(...spans.map((span) => span.endMs));
    return all.reduce((sum, { bytes }) => sum + bytes, 0) / (endMs - startMs) / 1e6;
  });
}

function runWorker(workerData: MemoryWork): Promise<MemoryTurns> {
  const { promise, resolve, reject } = Promise.withResolvers<MemoryTurns>();
  const worker = new Worker(new URL("./memory-worker.ts", import.meta.url), { workerData });
  worker.once("message", resolve);
  worker.once("error", reject);
  return promise;
}
