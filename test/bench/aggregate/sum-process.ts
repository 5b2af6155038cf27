// A process that sums delta files as a region does, and says how long it took and how much memory
// it ever held. A process of its own, so that nothing else counts.
import { readFileSync } from "node:fs";
import { systemClock } from "../../../runtime/clock.ts";
import { sumDeltas } from "../../../sync/aggregate/delta-sum.ts";

export interface SumRequest {
  readonly paths: readonly string[];
  readonly output: string;
}

export interface SumFigures {
  /** From the call to the written file, threads started and ended. */
  readonly wallMs: number;
  /** CPU time of all its threads meanwhile. */
  readonly cpuMs: number;
  /** Most that the process ever held: memory of all its threads and libraries. */
  readonly peakBytes: number;
}

const { paths, output } = JSON.parse(process.argv[2] ?? "{}") as SumRequest;
const before = process.cpuUsage();
const startMs = systemClock.monotonicMs();
await sumDeltas(
  paths.map((path, i) => ({ name: `edge-${String(i).padStart(2, "0")}`, weight: i + 1, path })),
  output,
);
const wallMs = systemClock.monotonicMs() - startMs;
const { user, system } = process.cpuUsage(before);
const cpuMs = (user + system) / 1000;
const peakKib = Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync("/proc/self/status", "utf8"))![1]);
process.stdout.write(
  JSON.stringify({ wallMs, cpuMs, peakBytes: peakKib * 1024 } satisfies SumFigures),
);
