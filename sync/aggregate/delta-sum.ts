// The sum Σ w·Δ of delta files as another file, in memory that doesn't grow with the model or the
// number of deltas: every byte is read once, piece by piece, in threads of their own.
//
// The bytes are those that sumWeighted and roundSum give for the decoded deltas: f64 sums, added in
// the order of the contributors' names, rounded once to f32.
import { type FileHandle, open, rm } from "node:fs/promises";
import { Fault } from "../../proto/fault.ts";
import { type DeltaFile, type DeltaTensor, openDelta } from "../delta/codec/delta-file.ts";
import { layoutDifference, type TensorLayout } from "../delta/tensor-map.ts";
import { encodeSafetensorsHead } from "../formats/safetensors.ts";
import { createPlaces, type SumJob, setPlace } from "../kernel/sum-job.ts";
import { runSumJob } from "../kernel/sum-threads.ts";
import { sortContributions } from "./weighted-sum.ts";

export interface DeltaContribution {
  /** Sorts the sum, and names the contributor in faults. */
  readonly name: string;
  readonly weight: number;
  /** Scales the delta, but isn't part of the weight: a norm bound's; 1 by default. */
  readonly factor?: number;
  /** A delta file of any codec; contributors may differ in theirs. */
  readonly path: string;
}

export interface DeltaSum {
  readonly layout: TensorLayout;
  readonly weight: number;
  /** Sorted. */
  readonly contributors: readonly string[];
  /** Bytes of the output. */
  readonly bytes: number;
}

export interface DeltaSumOptions {
  /** Most threads; every core by default. */
  readonly threadsMax?: number;
}

/** Everything that files of one job have in common. */
interface Output {
  readonly layout: TensorLayout;
  readonly head: Buffer;
  readonly counts: readonly number[];
  readonly starts: readonly number[];
  readonly bytes: number;
}

/**
 * Sums weight · factor · delta over all contributions into an f32 safetensors file, names sorted.
 * The file isn't synced; it is gone when this fails.
 * Requires: deltas that passed their screening; the files don't change meanwhile.
 * Faults: `invalid-argument` when there is none, one comes twice, a weight isn't a positive number,
 * a file isn't a delta, or the layouts differ; `internal` when reading or writing fails.
 */
export async function sumDeltas(
  contributions: readonly DeltaContribution[],
  path: string,
  { threadsMax }: DeltaSumOptions = {},
): Promise<DeltaSum> {
  const sorted = sortContributions(contributions);
  const weight = sorted.reduce((total, contribution) => total + contribution.weight, 0);
  const opened: FileHandle[] = [];
  try {
    const { output, job } = await prepare(sorted, path, opened);
    await runSumJob(job, threadsMax);
    const contributors = sorted.map(({ name }) => name);
    return { layout: output.layout, weight, contributors, bytes: output.bytes };
  } catch (thrown) {
    await rm(path, { force: true });
    throw thrown;
  } finally {
    await Promise.all(opened.map((file) => file.close()));
  }
}

/** Opens every file, of which `opened` keeps account, and notes where each tensor lies. */
async function prepare(
  sorted: readonly DeltaContribution[],
  path: string,
  opened: FileHandle[],
): Promise<{ output: Output; job: SumJob }> {
  const inputs: SumJob["inputs"][number][] = [];
  let output: Output | null = null;
  let places = createPlaces(0, 0);
  for (const [i, contribution] of sorted.entries()) {
    const delta = await openNamed(contribution);
    output ??= outputOf(delta);
    if (i === 0) places = createPlaces(output.counts.length, sorted.length);
    const difference = layoutDifference(output.layout, layoutOfFile(delta));
    if (difference) throw new Fault("invalid-argument", `${contribution.name}: ${difference}`);
    const file = await open(contribution.path);
    opened.push(file);
    inputs.push({ fd: file.fd, codec: delta.codec, weight: scaleOf(contribution) });
    [...delta.tensors.values()].forEach((tensor, t) => {
      setPlace(places, sorted.length, t, i, placeOfTensor(tensor));
    });
  }
  const file = await open(path, "w");
  opened.push(file);
  const { head, counts, starts } = output!;
  await file.writeFile(head);
  const job = { inputs, counts, outputFd: file.fd, outputStarts: starts, places };
  return { output: output!, job };
}

async function openNamed({ name, path }: DeltaContribution): Promise<DeltaFile> {
  try {
    return await openDelta(path);
  } catch (thrown) {
    if (!(thrown instanceof Fault)) throw thrown;
    throw new Fault(thrown.code, `${name}: ${thrown.message}`, { cause: thrown });
  }
}

function outputOf(delta: DeltaFile): Output {
  const layout = layoutOfFile(delta);
  const head = encodeSafetensorsHead({}, layout);
  const counts = [...delta.tensors.values()].map(({ count }) => count);
  let bytes = head.length;
  const starts = counts.map((count) => {
    bytes += count * Float32Array.BYTES_PER_ELEMENT;
    return bytes - count * Float32Array.BYTES_PER_ELEMENT;
  });
  return { layout, head, counts, starts, bytes };
}

function scaleOf({ weight, factor = 1 }: DeltaContribution): number {
  return weight * factor;
}

function layoutOfFile({ tensors }: DeltaFile): TensorLayout {
  return new Map([...tensors].map(([name, { shape }]) => [name, shape]));
}

function placeOfTensor({ values, scales, index }: DeltaTensor) {
  return {
    values: values.start,
    companion: (scales ?? index)?.start ?? 0,
    sent: (values.end - values.start) / Float32Array.BYTES_PER_ELEMENT,
  };
}
