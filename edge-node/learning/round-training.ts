// One accepted job from start to end: fetch what it needs, train, make and sign the delta, hand it
// in. Every step leaves its result on disk, so that a killed edge goes on where it was.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fromJson, toJson } from "@bufbuild/protobuf";
import { Fault } from "../../proto/fault.ts";
import type { Artifact } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import {
  type DeltaManifest,
  DeltaManifestSchema,
  type RoundOffer,
  type TrainParams,
} from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import { signManifest } from "../../sync/delta/delta-manifest.ts";
import { replaceFile } from "../../sync/delta/durable-file.ts";
import type { SigningKey } from "../../sync/delta/signing-key.ts";
import { deltaBetween, normOf } from "../../sync/delta/tensor-map.ts";
import { encodeSafetensors, readSafetensors } from "../../sync/formats/safetensors.ts";
import { type UploadOutcome, uploadDelta } from "./delta-upload.ts";
import { formatExamples, type PrivateData, readPrivateSplit } from "./private-examples.ts";
import type { TrainingJob } from "./training-job.ts";

/** What a trainer is given: files on this machine, and where the result goes. */
export interface TrainingRun {
  readonly basePath: string;
  /** Adapter state to start from; null means from the seed alone. */
  readonly startPath: string | null;
  /** JSONL of the private examples to train on. */
  readonly examplesPath: string;
  /** JSONL of public examples; null means none. */
  readonly replayPath: string | null;
  readonly params: TrainParams;
  /** Folder of its own, kept over restarts of the edge: checkpoints go there. */
  readonly workDir: string;
  /** Where the trained adapter state goes, whole or not at all. */
  readonly resultPath: string;
}

export interface TrainingSummary {
  readonly lossBefore: number;
  readonly lossAfter: number;
}

export interface TrainingStepReport {
  readonly step: number;
  readonly steps: number;
  readonly loss: number;
}

export type RunTraining = (
  run: TrainingRun,
  control: {
    readonly signal: AbortSignal;
    readonly onProgress: (report: TrainingStepReport) => void;
  },
) => Promise<TrainingSummary>;

export interface RoundTrainingOptions {
  readonly region: string;
  readonly edge: string;
  readonly key: SigningKey;
  readonly fetchArtifact: (artifact: Artifact) => Promise<string>;
  readonly runTraining: RunTraining;
  readonly clock: Clock;
  readonly onProgress: (report: TrainingStepReport) => void;
  /** Called once the signed delta is on disk. */
  readonly onTrained: () => void;
  /** Where the delta goes, as it was told last. */
  readonly address: () => string;
  readonly signal: AbortSignal;
}

/** Trains (unless that is done already) and uploads. Faults: those of its parts. */
export async function runRoundTraining(
  job: TrainingJob,
  folder: string,
  data: PrivateData,
  options: RoundTrainingOptions,
): Promise<UploadOutcome> {
  const offer = job.command.offer!;
  const deltaPath = join(folder, "delta.safetensors");
  const manifestPath = join(folder, "manifest.json");
  if (!existsSync(manifestPath)) {
    const trained = await train(offer, folder, data, options);
    const manifest = writeDelta(offer, trained, deltaPath, options);
    // Written last: with it, the delta is whole.
    const json = JSON.stringify(toJson(DeltaManifestSchema, manifest));
    replaceFile(manifestPath, Buffer.from(json));
  }
  options.onTrained();
  return await uploadDelta({
    manifest: fromJson(DeltaManifestSchema, JSON.parse(readFileSync(manifestPath, "utf8"))),
    path: deltaPath,
    address: options.address,
    deadlineMs: Number(offer.deadlineMs),
    clock: options.clock,
    signal: options.signal,
  });
}

interface Trained extends TrainingSummary {
  readonly resultPath: string;
  readonly startPath: string | null;
  readonly examples: number;
}

async function train(
  offer: RoundOffer,
  folder: string,
  data: PrivateData,
  { fetchArtifact, runTraining, signal, onProgress, clock }: RoundTrainingOptions,
): Promise<Trained> {
  const { train: examples } = readPrivateSplit(data);
  const examplesPath = join(folder, "examples.jsonl");
  replaceFile(examplesPath, Buffer.from(formatExamples(examples)));
  const fetchOptional = (artifact: Artifact | undefined) =>
    artifact ? fetchArtifact(artifact) : null;
  const workDir = join(folder, "work");
  mkdirSync(workDir, { recursive: true });
  const resultPath = join(folder, "result.safetensors");
  const startPath = await fetchOptional(offer.adapterState);
  const run: TrainingRun = {
    basePath: await fetchArtifact(offer.version!.base!),
    startPath,
    examplesPath,
    replayPath: await fetchOptional(offer.replay),
    params: offer.params!,
    workDir,
    resultPath,
  };
  const late = new AbortController();
  const timer = clock.after(timeLeftMs(offer, clock), () => late.abort());
  try {
    const both = AbortSignal.any([signal, late.signal]);
    const summary = await runTraining(run, { signal: both, onProgress });
    return { ...summary, resultPath, startPath, examples: examples.length };
  } catch (thrown) {
    if (late.signal.aborted) {
      throw new Fault("deadline-exceeded", "training took longer than the round allows");
    }
    throw thrown;
  } finally {
    timer.cancel();
    rmSync(examplesPath, { force: true });
  }
}

/** Until the round's deadline, or the params' own limit if that is sooner. */
function timeLeftMs(offer: RoundOffer, clock: Clock): number {
  const leftMs = Number(offer.deadlineMs) - clock.now();
  const limitMs = offer.params!.timeLimitMs;
  return limitMs > 0 ? Math.min(leftMs, limitMs) : leftMs;
}

function writeDelta(
  offer: RoundOffer,
  trained: Trained,
  path: string,
  { region, edge, key }: RoundTrainingOptions,
): DeltaManifest {
  const start = trained.startPath ? readSafetensors(trained.startPath).tensors : null;
  const result = readSafetensors(trained.resultPath);
  const delta = deltaBetween(start, result.tensors);
  const bytes = encodeSafetensors({ metadata: result.metadata, tensors: delta });
  replaceFile(path, bytes);
  return signManifest(
    {
      campaign: offer.campaign,
      round: offer.round,
      region,
      edge,
      model: offer.model,
      baseSha256: offer.version!.base!.sha256,
      startSha256: offer.adapterState?.sha256 ?? "",
      rank: offer.params!.rank,
      alpha: offer.params!.alpha,
      examples: trained.examples,
      norm: normOf(delta),
      lossBefore: trained.lossBefore,
      lossAfter: trained.lossAfter,
      delta: {
        sha256: createHash("sha256").update(bytes).digest("hex"),
        bytes: BigInt(bytes.length),
        name: "delta.safetensors",
      },
    },
    key,
  );
}
