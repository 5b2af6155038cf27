// Sums stripes of a job: reads a piece of every delta, adds it while it is in the cache, writes the
// sums, goes on to the next piece. Blocks its thread, so it runs in threads of its own.
import { readSync, writeSync } from "node:fs";
import { Fault } from "../../proto/fault.ts";
import type { CodecName } from "../delta/codec/delta-format.ts";
import { blockCount, INT8_BLOCK } from "../delta/codec/int8-blocks.ts";
import { placeOf, type Stripe, type SumJob } from "./sum-job.ts";
import { GROUP_DELTAS, numberBytes, PIECE_NUMBERS, SumKernel } from "./sum-kernel.ts";

/** Entries of a sparse delta that are read at once; most of them should belong to one piece. */
const SPARSE_ENTRIES = 1 << 10;
const ENTRY_BYTES = 4;

/** Neighbours in the order of adding that share a codec: inputs `first` and the ones after it. */
interface Group {
  readonly codec: CodecName;
  readonly first: number;
  readonly weights: readonly number[];
}

export class StripeSum {
  readonly #kernel = new SumKernel();
  readonly #job: SumJob;
  readonly #groups: readonly Group[];
  /** Of each sparse input, how many entries lie before the next piece. */
  readonly #entriesDone: Float64Array;

  constructor(job: SumJob) {
    this.#job = job;
    this.#groups = groupsOf(job);
    this.#entriesDone = new Float64Array(job.inputs.length);
  }

  /** Sums a stripe. Faults: `internal` when a file is shorter than it was. */
  run({ tensor, first, count }: Stripe): void {
    for (const group of this.#groups) {
      if (group.codec !== "top-k") continue;
      this.#entriesDone[group.first] = this.#entriesBefore(tensor, group.first, first);
    }
    for (let at = first; at < first + count; at += PIECE_NUMBERS) {
      this.#sumPiece(tensor, at, Math.min(PIECE_NUMBERS, first + count - at));
    }
  }

  #sumPiece(tensor: number, at: number, count: number): void {
    this.#kernel.clear();
    for (const group of this.#groups) {
      if (group.codec === "top-k") this.#addSparse(group, tensor, at, count);
      else this.#addDense(group, group.codec, tensor, at, count);
    }
    const start = this.#job.outputStarts[tensor]! + at * Float32Array.BYTES_PER_ELEMENT;
    writeFully(this.#job.outputFd, this.#kernel.rounded(count), start);
  }

  #addDense(
    { first, weights }: Group,
    codec: Exclude<CodecName, "top-k">,
    tensor: number,
    at: number,
    count: number,
  ): void {
    const width = numberBytes[codec];
    for (let slot = 0; slot < weights.length; slot++) {
      const { fd } = this.#job.inputs[first + slot]!;
      const { values, companion } = placeOf(this.#job, tensor, first + slot);
      readFully(fd, this.#kernel.values(slot, count * width), values + at * width);
      if (codec !== "int8") continue;
      const scales = this.#kernel.scales(slot, blockCount(count) * ENTRY_BYTES);
      readFully(fd, scales, companion + (at / INT8_BLOCK) * ENTRY_BYTES);
    }
    this.#kernel.addDense(codec, weights, count);
  }

  #addSparse({ first: input, weights }: Group, tensor: number, at: number, count: number): void {
    const { fd } = this.#job.inputs[input]!;
    const { values, companion, sent } = placeOf(this.#job, tensor, input);
    for (let done = this.#entriesDone[input]!; done < sent; ) {
      const entries = Math.min(SPARSE_ENTRIES, sent - done);
      const bytes = entries * ENTRY_BYTES;
      readFully(fd, this.#kernel.values(0, bytes), companion + done * ENTRY_BYTES);
      readFully(fd, this.#kernel.values(1, bytes), values + done * ENTRY_BYTES);
      const taken = this.#kernel.addSparse(weights[0]!, at, count, entries);
      done += taken;
      this.#entriesDone[input] = done;
      if (taken < entries) return;
    }
  }

  /** How many of a sparse tensor's entries lie before number `first`, by bisection. */
  #entriesBefore(tensor: number, input: number, first: number): number {
    const { fd } = this.#job.inputs[input]!;
    const { companion, sent } = placeOf(this.#job, tensor, input);
    const entry = new Uint32Array(1);
    let low = 0;
    let high = first === 0 ? 0 : sent;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      readFully(fd, new Uint8Array(entry.buffer), companion + middle * ENTRY_BYTES);
      if (entry[0]! < first) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function groupsOf({ inputs }: SumJob): readonly Group[] {
  const groups: { codec: CodecName; first: number; weights: number[] }[] = [];
  for (const [i, { codec, weight }] of inputs.entries()) {
    const last = groups.at(-1);
    const fits = last?.codec === codec && codec !== "top-k" && last.weights.length < GROUP_DELTAS;
    if (fits) last.weights.push(weight);
    else groups.push({ codec, first: i, weights: [weight] });
  }
  return groups;
}

function readFully(fd: number, into: Uint8Array, at: number): void {
  for (let done = 0; done < into.length; ) {
    const bytes = readSync(fd, into, done, into.length - done, at + done);
    if (bytes === 0) throw new Fault("internal", "a delta's file became shorter");
    done += bytes;
  }
}

function writeFully(fd: number, from: Uint8Array, at: number): void {
  for (let done = 0; done < from.length; ) {
    done += writeSync(fd, from, done, from.length - done, at + done);
  }
}
