// One accepted job from start to end: fetch what it needs, train, make and sign the delta, hand it
// in. Every step leaves its result on disk, so that a killed edge goes on where it was.
import { createHash } from "node:crypto";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fromJson, toJson } from "@bufbuild/protobuf";
import { Fault } from "../../proto/fault.ts";
import type { Artifact } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import {
  DeltaManifestSchema,
  type RoundOffer,
  type TrainParams,
} from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import type { MaskSecrets } from "../../proto/gen/isthmus/v1/secagg_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import { replaceFile } from "../../sync/delta/durable-file.ts";
import type { SigningKey } from "../../sync/delta/signing-key.ts";
import type { TrainingOptions } from "../training/run-training.ts";
import type { TrainingJob, TrainingProgress, TrainingResult } from "../training/training-job.ts";
import { type UploadOutcome, uploadDelta } from "./delta-upload.ts";
import { deltaPath, stagedResidualPath, type Trained, writeDelta } from "./delta-writer.ts";
import type { MaskKeeper } from "./mask-keeper.ts";
import { fetchPatiently } from "./patient-fetch.ts";
import { formatExamples, type PrivateData, readPrivateSplit } from "./private-examples.ts";
import type { ResidualStore } from "./residual-store.ts";
import type { RoundJob } from "./round-job.ts";

/** Seeds are 64 bits on the wire; the trainer takes safe integers. */
const SEED_BITS = 53;

export type RunTraining = (job: TrainingJob, options: TrainingOptions) => Promise<TrainingResult>;

export interface RoundTrainingOptions {
  readonly region: string;
  readonly edge: string;
  readonly key: SigningKey;
  readonly residuals: ResidualStore;
  readonly masks: Pick<MaskKeeper, "agreed">;
  readonly fetchArtifact: (artifact: Artifact) => Promise<string>;
  readonly runTraining: RunTraining;
  readonly threads: number;
  readonly clock: Clock;
  readonly onProgress: (progress: TrainingProgress) => void;
  /** Called once the signed delta is on disk. */
  readonly onTrained: () => void;
  /** Where the delta goes, as it was told last. */
  readonly address: () => string;
  /** Others that take it for the region. */
  readonly elsewhere: () => readonly string[];
  readonly signal: AbortSignal;
}

/** Trains (unless that is done already) and uploads. Faults: those of its parts. */
export async function runRoundTraining(
  job: RoundJob,
  folder: string,
  data: PrivateData,
  options: RoundTrainingOptions,
): Promise<UploadOutcome> {
  const offer = job.command.offer!;
  const manifestPath = join(folder, "manifest.json");
  if (!existsSync(manifestPath)) {
    if (options.clock.now() >= Number(offer.deadlineMs)) {
      const reason = "the round was over when the edge came back";
      return { included: false, status: "late", reason };
    }
    const trained = await train(offer, folder, data, options);
    const masks = await masksOf(offer, options);
    const manifest = await writeDelta(offer, trained, folder, { ...options, masks });
    // Written last: with it, the delta is whole.
    const json = JSON.stringify(toJson(DeltaManifestSchema, manifest));
    replaceFile(manifestPath, Buffer.from(json));
  }
  options.onTrained();
  const outcome = await uploadDelta({
    manifest: fromJson(DeltaManifestSchema, JSON.parse(readFileSync(manifestPath, "utf8"))),
    path: deltaPath(folder),
    address: options.address,
    elsewhere: options.elsewhere,
    deadlineMs: Number(offer.deadlineMs),
    clock: options.clock,
    signal: options.signal,
  });
  // Only now: what the region never got isn't owed in part, it was lost as a whole.
  if (outcome.included) {
    options.residuals.keep(offer.campaign, offer.round, stagedResidualPath(folder));
  }
  return outcome;
}

/** What is agreed with the other edges of a masked round, which may take longer than training. */
async function masksOf(
  { secureAggregation, campaign, round, deadlineMs }: RoundOffer,
  { masks, clock, signal }: RoundTrainingOptions,
): Promise<MaskSecrets | null> {
  if (!secureAggregation) return null;
  const late = new AbortController();
  const timer = clock.after(Number(deadlineMs) - clock.now(), () => {
    late.abort(new Fault("deadline-exceeded", "no masks were agreed by the deadline"));
  });
  try {
    return await masks.agreed(campaign, round, AbortSignal.any([signal, late.signal]));
  } finally {
    timer.cancel();
  }
}

async function train(
  offer: RoundOffer,
  folder: string,
  data: PrivateData,
  options: RoundTrainingOptions,
): Promise<Trained> {
  const { runTraining, signal, onProgress, clock } = options;
  const patience = { ...options, deadlineMs: Number(offer.deadlineMs) };
  const fetchArtifact = (artifact: Artifact) => fetchPatiently(artifact, patience);
  // Only what isn't held out; the copy is gone as soon as it was learned from.
  const examples = join(folder, "examples.jsonl");
  const newest = data.kept?.newest ?? 0;
  replaceFile(examples, Buffer.from(formatExamples(readPrivateSplit(data).train)));
  try {
    const base = await fetchArtifact(offer.version!.base!);
    const startPath = offer.adapterState ? await fetchArtifact(offer.adapterState) : null;
    const replay = offer.replay ? await fetchArtifact(offer.replay) : null;
    const job: TrainingJob = {
      base,
      ...(startPath && { adapterState: startPath }),
      examples,
      ...(replay && { replay }),
      outputFolder: join(folder, "work"),
      ...hyperparametersOf(offer.params!),
      dataSeed: dataSeedOf(offer, options.edge),
      threads: options.threads,
      // Pauses don't count against this, but nobody waits beyond the deadline.
      timeLimitMs: offer.params!.timeLimitMs || Math.max(1, timeLeftMs(offer, clock)),
    };
    const deadlineMs = Number(offer.deadlineMs);
    const result = await runTraining(job, { signal, onProgress, clock, deadlineMs });
    data.kept?.learned(newest);
    return { result, startPath };
  } finally {
    rmSync(examples, { force: true });
  }
}

function hyperparametersOf(params: TrainParams) {
  return {
    rank: params.rank,
    alpha: params.alpha,
    // The trainer's own schema says which names there are.
    modules: params.targets as NonNullable<TrainingJob["modules"]>,
    learningRate: params.learningRate,
    steps: params.steps,
    batch: params.batch,
    sequenceLength: params.sequenceLength,
    replayShare: params.replayShare,
    proximal: params.proximal,
    freezeA: params.freezeA,
    adapterSeed: Number(BigInt.asUintN(SEED_BITS, params.seed)),
  };
}

/** Another order of the examples on each edge and in each round, the same one when it is redone. */
function dataSeedOf({ campaign, round, params }: RoundOffer, edge: string): number {
  const text = `${params!.seed}/${campaign}/${round}/${edge}`;
  return createHash("sha256").update(text).digest().readUInt32LE(0);
}

function timeLeftMs(offer: RoundOffer, clock: Clock): number {
  return Number(offer.deadlineMs) - clock.now();
}
