// Makes a version's adapters part of the model: merged into the full-precision master, quantized
// anew, and published as a version of its own that has yet to be proven.
import { randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { Fault } from "../../proto/fault.ts";
import type { Sha256 } from "../../proto/ids.ts";
import type { ArtifactStore } from "../../sync/artifact/artifact-store.ts";
import { adoptFile } from "../../sync/artifact/file-adoption.ts";
import type { QuantizedType } from "../../sync/formats/block-quantization.ts";
import { TensorType } from "../../sync/formats/tensor-type.ts";
import type { Catalogue } from "../catalogue/catalogue.ts";
import type { ArtifactRef, VersionRecord } from "../catalogue/model-record.ts";
import type { MergeWorkerData } from "./merge-worker.ts";

export const quantizations = {
  f32: TensorType.f32,
  f16: TensorType.f16,
  q8_0: TensorType.q8_0,
  q4_0: TensorType.q4_0,
} as const satisfies Record<string, QuantizedType>;
export type Quantization = keyof typeof quantizations;

export interface MergeWish {
  readonly quantization: Quantization;
  /** The model in full precision; null takes the model's own, or the base. */
  readonly master: ArtifactRef | null;
}

export interface VersionMergeOptions {
  readonly catalogue: Catalogue;
  readonly artifacts: ArtifactStore;
  /** For the file being written, on the disk of `artifacts`. */
  readonly dir: string;
}

/**
 * Publishes the merged model; asked again, returns the same version.
 * Faults: `failed-precondition` for a version without adapters, a master that is quantized, or one
 * that they don't fit; `not-found` for a master that isn't here.
 */
export async function mergeVersion(
  id: string,
  { quantization, master: given }: MergeWish,
  options: VersionMergeOptions,
): Promise<VersionRecord> {
  const { catalogue, artifacts, dir } = options;
  const version = catalogue.version(id);
  if (version.adapters.length === 0) {
    throw new Fault("failed-precondition", `${id} has no adapter to merge`);
  }
  const pathOf = (ref: ArtifactRef) => artifacts.path(ref.sha256 as Sha256);
  // A base in full precision is its own master.
  const master = given ?? catalogue.model(version.model).master ?? version.base;
  const target = join(dir, `${randomUUID()}.merged`);
  const adapters = version.adapters.map(({ artifact, scale }) => {
    return { path: pathOf(artifact), scale };
  });
  try {
    await runMerge({
      ...{ master: pathOf(master), adapters, target },
      type: quantizations[quantization],
    });
    const { sha256, bytes } = await adoptFile(artifacts, target);
    const name = `${version.model}-${version.number}-${quantization}.gguf`;
    const published = catalogue.publish({
      model: version.model,
      base: { sha256, bytes, name },
      parent: version.version,
      origin: { kind: "merged", from: id, quantization },
    });
    return published.version;
  } finally {
    await rm(target, { force: true });
    await rm(`${target}.part`, { force: true });
  }
}

function runMerge(workerData: MergeWorkerData): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const worker = new Worker(new URL("./merge-worker.ts", import.meta.url), { workerData });
  worker.once("error", (cause: Error) => {
    reject(new Fault("failed-precondition", `merging failed: ${cause.message}`, { cause }));
  });
  worker.once("exit", (code) => {
    if (code === 0) resolve();
    else reject(new Fault("internal", `the merging thread ended with code ${code}`));
  });
  return promise;
}
