// A thread that measures what memory gives: reading, copying, and the kernel on deltas that are in
// memory already. It waits for its fellows before each turn, so that all cores pull at once.
import { parentPort, workerData } from "node:worker_threads";
import { GROUP_DELTAS, instantiateKernel, PIECE_NUMBERS } from "../../../sync/kernel/sum-kernel.ts";

export type MemoryWay = "read" | "copy" | "sum";

export interface MemoryWork {
  readonly way: MemoryWay;
  readonly turns: number;
  readonly threads: number;
  /** One number for each turn: threads that have come to it. */
  readonly arrived: Int32Array<SharedArrayBuffer>;
}

export interface MemoryTurns {
  /** When each turn began and ended, on the clock that all threads share. */
  readonly spans: readonly { readonly startMs: number; readonly endMs: number }[];
  /** Bytes that one turn moves: reads, and writes where it does. */
  readonly bytes: number;
}

/** Beyond any cache. */
const AREA_BYTES = 512 << 20;

const { way, turns, threads, arrived } = workerData as MemoryWork;
const { run, bytes } = { read: reading, copy: copying, sum: summing }[way]();
const nowMs = () => Number(process.hrtime.bigint()) / 1e6;
const spans = Array.from({ length: turns }, (_, turn) => {
  meet(turn);
  const startMs = nowMs();
  run();
  return { startMs, endMs: nowMs() };
});
parentPort!.postMessage({ spans, bytes } satisfies MemoryTurns);

function meet(turn: number): void {
  if (Atomics.add(arrived, turn, 1) === threads - 1) Atomics.notify(arrived, turn);
  for (let here = 0; here < threads; here = Atomics.load(arrived, turn)) {
    Atomics.wait(arrived, turn, here);
  }
}

/** Looks for a byte that isn't there, which the C library does as fast as it can load. */
function reading() {
  const area = Buffer.alloc(AREA_BYTES, 1);
  return { run: () => area.indexOf(2), bytes: AREA_BYTES };
}

function copying() {
  const from = Buffer.alloc(AREA_BYTES / 2, 1);
  const to = Buffer.alloc(AREA_BYTES / 2, 2);
  return { run: () => from.copy(to), bytes: AREA_BYTES };
}

/** The product's loop over a group of f32 deltas, but for the reading of files. */
function summing() {
  const deltaNumbers = Math.floor(AREA_BYTES / 4 / GROUP_DELTAS / PIECE_NUMBERS) * PIECE_NUMBERS;
  const stride = deltaNumbers * 4 + 64;
  const places = { weights: 0, sums: 4096, values: 4096 + PIECE_NUMBERS * 8 };
  const rounded = places.values + GROUP_DELTAS * stride;
  const kernel = instantiateKernel(rounded + stride);
  const numbers = new Float32Array(kernel.memory.buffer);
  numbers.fill(0.5);
  new Float64Array(kernel.memory.buffer, places.weights, GROUP_DELTAS).fill(1.5);
  const sums = new Float64Array(kernel.memory.buffer, places.sums, PIECE_NUMBERS);
  const run = () => {
    for (let at = 0; at < deltaNumbers; at += PIECE_NUMBERS) {
      sums.fill(0);
      const values = places.values + at * 4;
      kernel.sumF32(places.sums, values, stride, places.weights, GROUP_DELTAS, PIECE_NUMBERS);
      kernel.roundSums(places.sums, rounded + at * 4, PIECE_NUMBERS);
    }
  };
  return { run, bytes: (GROUP_DELTAS + 1) * deltaNumbers * 4 };
}
