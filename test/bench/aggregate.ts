// `npm run bench:aggregate`: weighted sums over deltas of 100 M parameters, from files, as a region
// makes them: GB/s by codec, the same job in numpy, what memory gives on all cores, and the most
// memory held at 8 and at 64 deltas. Prints the targets last; exits 1 when one is missed.
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs, promisify } from "node:util";
import {
  type BenchCodec,
  deltaBytes,
  numbersOf,
  tensorsOf,
  writeDeltas,
} from "./aggregate/delta-files.ts";
import { measureMemory } from "./aggregate/memory-rate.ts";
import type { MemoryWay } from "./aggregate/memory-worker.ts";
import type { SumFigures, SumRequest } from "./aggregate/sum-process.ts";
import { median } from "./statistics.ts";

const help = `Usage: npm run bench:aggregate -- [options]

  --parameters N     numbers of a delta            (default 100000000)
  --turns N          turns of each case            (default 5)
  --dir FOLDER       where deltas lie; they stay   (default: a folder that goes away)
  --help             this text
`;

const DELTAS = 8;
const MANY_DELTAS = 64;
const NUMPY_RATIO_MIN = 3;
const BANDWIDTH_SHARE_MIN = 0.6;
const MODEL_SHARE_MAX = 1.3;
const FIXED_BYTES_MAX = 256 * 2 ** 20;
const MEMORY_TURNS = 8;

const run = promisify(execFile);
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const { values } = parseArgs({
  options: {
    parameters: { type: "string", default: "100000000" },
    turns: { type: "string", default: "5" },
    dir: { type: "string" },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  say(help);
  process.exit(0);
}
const turns = Number(values.turns);
const parameters = Number(values.parameters);
const numbers = numbersOf(parameters);
const modelBytes = numbers * 4;

/** What one turn of one way took and held. */
type Turns = readonly SumFigures[];

async function sum(paths: readonly string[], output: string): Promise<SumFigures> {
  const script = join(import.meta.dirname, "aggregate/sum-process.ts");
  return await inProcess(process.execPath, script, { paths, output } satisfies SumRequest);
}

async function sumInNumpy(request: object): Promise<SumFigures> {
  return await inProcess("python3", join(import.meta.dirname, "aggregate/numpy-sum.py"), request);
}

async function inProcess(command: string, script: string, request: object) {
  const { stdout } = await run(command, [script, JSON.stringify(request)]);
  return JSON.parse(stdout) as SumFigures;
}

async function hasNumpy(): Promise<boolean> {
  return await run("python3", ["-c", "import numpy"]).then(
    () => true,
    () => false,
  );
}

const bestMs = (turnsOf: Turns) => Math.min(...turnsOf.map(({ wallMs }) => wallMs));
const bestCpuMs = (turnsOf: Turns) => Math.min(...turnsOf.map(({ cpuMs }) => cpuMs));
const peak = (turnsOf: Turns) => Math.max(...turnsOf.map(({ peakBytes }) => peakBytes));
const rate = (bytes: number, ms: number) => bytes / ms / 1e6;
const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MiB`;

function report(what: string, bytes: number, figures: Turns): void {
  const rates = figures.map(({ wallMs }) => rate(bytes, wallMs));
  const pace = `${Math.max(...rates)
    .toFixed(1)
    .padStart(5)} GB/s at best`;
  const time = `${bestMs(figures).toFixed(0)} ms (${bestCpuMs(figures).toFixed(0)} ms of CPU)`;
  const middle = `${median(rates).toFixed(1)} in the median`;
  say(`${what.padEnd(26)} ${pace}, ${middle}, ${time}, peak ${mebibytes(peak(figures))}`);
}

interface CodecFigures {
  readonly bytes: number;
  readonly ours: Turns;
  readonly whole: Turns;
  readonly pieces: Turns;
  readonly peakBytes: number;
}

/** Turns of each way take turns, so that what else the machine does strikes all alike. */
async function benchCodec(codec: BenchCodec, dir: string, numpy: boolean): Promise<CodecFigures> {
  const paths = await writeDeltas(dir, codec, parameters, DELTAS);
  const output = join(dir, "sum");
  const bytes = DELTAS * deltaBytes(codec, numbers);
  const ours: SumFigures[] = [];
  const whole: SumFigures[] = [];
  const pieces: SumFigures[] = [];
  const request = { paths, output, numbers, codec };
  for (let turn = 0; turn < turns; turn++) {
    ours.push(await sum(paths, output));
    if (numpy) whole.push(await sumInNumpy({ ...request, way: "whole" }));
    if (numpy && codec === "f32") pieces.push(await sumInNumpy({ ...request, way: "pieces" }));
    await rm(output);
  }
  report(`${codec}, isthmus`, bytes, ours);
  if (whole.length > 0) report(`${codec}, numpy`, bytes, whole);
  if (pieces.length > 0) report(`${codec}, numpy in pieces`, bytes, pieces);
  // The same files again and again: what is held doesn't depend on what is in them.
  const many = Array.from({ length: MANY_DELTAS }, (_, i) => paths[i % DELTAS]!);
  const crowd = [await sum(many, output)];
  report(`${codec}, isthmus, ${MANY_DELTAS} deltas`, (bytes * MANY_DELTAS) / DELTAS, crowd);
  for (const path of [output, ...(values.dir ? [] : paths)]) await rm(path);
  return { bytes, ours, whole, pieces, peakBytes: Math.max(peak(ours), peak(crowd)) };
}

interface MemoryFigures {
  /** GB/s that all cores together can read or copy, whichever is more. */
  readonly limit: number;
  readonly read: number;
  /** GB/s of the kernel over deltas that are in memory. */
  readonly kernel: number;
}

async function benchMemory(): Promise<MemoryFigures> {
  const most = async (way: MemoryWay) => Math.max(...(await measureMemory(way, MEMORY_TURNS)));
  const [read, copy, kernel] = [await most("read"), await most("copy"), await most("sum")];
  const rates = `read ${read.toFixed(1)}, copy ${copy.toFixed(1)} (read + written)`;
  say(`memory, all cores          ${rates}, f32 sums in memory ${kernel.toFixed(1)} GB/s`);
  return { limit: Math.max(read, copy), read, kernel };
}

const dir = values.dir ?? (await mkdtemp(join(tmpdir(), "isthmus-aggregate-")));
const missed: string[] = [];
function judge(what: string, figure: string, isMet: boolean): void {
  if (!isMet) missed.push(what);
  say(`${isMet ? "met" : "MISSED"}: ${what}: ${figure}`);
}

try {
  const numpy = await hasNumpy();
  say(
    `${DELTAS} deltas of ${(numbers / 1e6).toFixed(1)} M parameters (${tensorsOf(parameters)} ` +
      `tensors), ${availableParallelism()} cores, files in the page cache; isthmus adds in f64, ` +
      `numpy in f32 (${numpy ? "one thread" : "not here"}); GB/s count a delta's bytes once`,
  );
  const memory = await benchMemory();
  const f32 = await benchCodec("f32", dir, numpy);
  const others = [await benchCodec("bf16", dir, numpy), await benchCodec("int8", dir, numpy)];
  say("");
  const files = rate(f32.bytes, bestMs(f32.ours));
  const percent = (share: number) => `${(100 * share).toFixed(0)} %`;
  const share = (gbPerS: number) => percent(gbPerS / memory.limit);
  say(`f32 sums from files run at ${share(files)} of the memory's bandwidth on all cores`);
  judge(
    `f32 sums in memory at ${100 * BANDWIDTH_SHARE_MIN} % of its bandwidth or more, all cores`,
    // Of nine bytes that a sum of eight deltas moves, eight are reads.
    `${share(memory.kernel)}, of its bandwidth for reading ${percent(memory.kernel / memory.read)}`,
    memory.kernel >= BANDWIDTH_SHARE_MIN * memory.limit,
  );
  if (numpy) {
    const ratio = bestMs(f32.whole) / bestMs(f32.ours);
    const pieces = bestMs(f32.pieces) / bestMs(f32.ours);
    judge(
      `f32 sums from files ${NUMPY_RATIO_MIN} times as fast as numpy`,
      `${ratio.toFixed(1)} times (${pieces.toFixed(1)} times numpy in pieces)`,
      ratio >= NUMPY_RATIO_MIN,
    );
  }
  const limit = MODEL_SHARE_MAX * modelBytes + FIXED_BYTES_MAX;
  const held = Math.max(f32.peakBytes, ...others.map(({ peakBytes }) => peakBytes));
  judge(
    `at most ${mebibytes(limit)} held with ${DELTAS} deltas and with ${MANY_DELTAS}`,
    mebibytes(held),
    held <= limit,
  );
} finally {
  if (!values.dir) await rm(dir, { recursive: true, force: true });
}
process.exit(missed.length > 0 ? 1 : 0);
