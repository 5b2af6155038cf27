// Makes what an edge sends out of what its training gave: the change since the start, within the
// norm, in the round's format, cut into chunks and signed.
import { createHash } from "node:crypto";
import { join } from "node:path";
import type { DeltaManifest, RoundOffer } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import type { MaskSecrets } from "../../proto/gen/isthmus/v1/secagg_pb.ts";
import { changeFrame } from "../../sync/aggregate/frame-change.ts";
import { widenToLayout } from "../../sync/aggregate/rank-widening.ts";
import { planChunks } from "../../sync/delta/chunks.ts";
import { encodeDelta } from "../../sync/delta/codec/delta-encoder.ts";
import {
  type CodecFormat,
  formatFromWire,
  formatOfRound,
  formatToWire,
} from "../../sync/delta/codec/delta-format.ts";
import { scanDelta } from "../../sync/delta/codec/delta-numbers.ts";
import { feedBack } from "../../sync/delta/codec/error-feedback.ts";
import { signManifest } from "../../sync/delta/delta-manifest.ts";
import { replaceFile } from "../../sync/delta/durable-file.ts";
import { firstComponents, modulesOfLayout, rankOfLayout } from "../../sync/delta/rank-slice.ts";
import type { SigningKey } from "../../sync/delta/signing-key.ts";
import {
  clipNorm,
  deltaBetween,
  layoutDifference,
  layoutOf,
  scaleTensors,
  type TensorMap,
} from "../../sync/delta/tensor-map.ts";
import { readSafetensors } from "../../sync/formats/safetensors.ts";
import { edgeNoised } from "../../sync/privacy/edge-noise.ts";
import { maskedBytes } from "../../sync/secagg/masked-delta.ts";
import { ruleOfWire } from "../../sync/strategy/wire-rule.ts";
import type { TrainingResult } from "../training/training-job.ts";
import type { Owed, ResidualStore } from "./residual-store.ts";

/** Gets below a bound that rounding has lifted a norm over: bf16 rounds by up to 2^-8. */
const SHRINK = 1 - 2 ** -8;
/** Times that a delta is scaled down; the errors of the codecs shrink with it, so one is enough. */
const SHRINKS_MAX = 4;

export interface Trained {
  readonly result: TrainingResult;
  /** The adapter state that it started from; null in the first round. */
  readonly startPath: string | null;
}

export interface DeltaWriterOptions {
  readonly region: string;
  readonly edge: string;
  readonly key: SigningKey;
  readonly residuals: ResidualStore;
  /** In a masked round: what is agreed with the other edges. */
  readonly masks?: MaskSecrets | null;
}

export function deltaPath(folder: string): string {
  return join(folder, "delta.safetensors");
}

/** What the round leaves owed, until the region has taken the delta. */
export function stagedResidualPath(folder: string): string {
  return join(folder, "residual.safetensors");
}

/**
 * Writes a round's delta (and what it leaves owed) into its folder, durably, and says what it is.
 * Faults: `failed-precondition` when the result doesn't fit the start.
 */
export async function writeDelta(
  offer: RoundOffer,
  { result, startPath }: Trained,
  folder: string,
  { region, edge, key, residuals, masks = null }: DeltaWriterOptions,
): Promise<DeltaManifest> {
  const trained = readSafetensors(result.adapterState);
  const rank = rankOfLayout(layoutOf(trained.tensors)) || offer.params!.rank;
  const start = startOf(startPath, rank);
  const delta = deltaBetween(start, trained.tensors);
  const format = formatOfRound(formatFromWire(offer.format), startPath !== null);
  const startSha256 = offer.adapterState?.sha256 ?? "";
  const { normMax } = offer.params!;
  const owed = owedAt(offer, start, residuals.owed(offer.campaign, startSha256));
  const noised = edgeNoised(offer, delta);
  const clipped = noised ?? clipNorm(delta, normMax);
  const { sent, residual } = feedBack(clipped, owed, format, normMax);
  if (residual && start) {
    residuals.stage(stagedResidualPath(folder), startSha256, { residual, start });
  }
  const path = deltaPath(folder);
  const { bytes, norm } = masks
    ? writeMasked(path, offer, wholeOf(clipped, startPath), masks)
    : await writeWithin(path, sent, format, normMax, trained.metadata);
  // Under masks all send the whole layout, and nobody's own figures are told.
  const rankTold = masks ? offer.params!.rank : rank;
  const { chunkBytes, hashes } = planChunks(bytes);
  return signManifest(
    {
      campaign: offer.campaign,
      round: offer.round,
      region,
      edge,
      model: offer.model,
      baseSha256: offer.version!.base!.sha256,
      startSha256,
      rank: rankTold,
      alpha: (offer.params!.alpha * rankTold) / offer.params!.rank,
      examples: masks ? 1 : result.metrics.examples,
      norm,
      lossBefore: result.metrics.lossBefore,
      lossAfter: result.metrics.lossAfter,
      delta: {
        sha256: createHash("sha256").update(bytes).digest("hex"),
        bytes: BigInt(bytes.length),
        name: "delta.safetensors",
      },
      format: formatToWire(format),
      chunkBytes,
      chunkSha256: [...hashes],
      targets: [...modulesOfLayout(layoutOf(delta))],
      noised: noised !== null,
      masked: masks !== null,
    },
    key,
  );
}

/**
 * What is owed, in the coordinates of this round's start. Sums of factors keep their coordinates;
 * a stack that was truncated has other ones each round.
 */
function owedAt(offer: RoundOffer, start: TensorMap | null, owed: Owed | null): TensorMap | null {
  if (!owed || !start || layoutDifference(layoutOf(start), layoutOf(owed.start))) return null;
  const isStacked = ruleOfWire(offer.rule).lora === "stack";
  return isStacked ? changeFrame(owed.residual, owed.start, start) : owed.residual;
}

/** An edge of a lower rank has trained the first components only. */
function startOf(startPath: string | null, rank: number): TensorMap | null {
  if (startPath === null) return null;
  const { tensors } = readSafetensors(startPath);
  const ofStart = rankOfLayout(layoutOf(tensors));
  return rank < ofStart ? firstComponents(tensors, rank) : tensors;
}

/** What a lower rank left alone has changed by 0. */
function wholeOf(delta: TensorMap, startPath: string | null): TensorMap {
  if (startPath === null) return delta;
  return widenToLayout(delta, layoutOf(readSafetensors(startPath).tensors));
}

function writeMasked(path: string, offer: RoundOffer, delta: TensorMap, masks: MaskSecrets) {
  const bytes = maskedBytes(offer, delta, masks);
  replaceFile(path, bytes);
  return { bytes, norm: 0 };
}

/** Writes the delta so that its numbers as anybody reads them are within the norm. */
async function writeWithin(
  path: string,
  delta: TensorMap,
  format: CodecFormat,
  normMax: number,
  metadata: Readonly<Record<string, string>>,
) {
  let tensors = delta;
  for (let shrinks = 0; ; shrinks++) {
    const bytes = encodeDelta(tensors, format, metadata);
    replaceFile(path, bytes);
    const { norm } = await scanDelta(path, layoutOf(tensors));
    const isWithin = !(normMax > 0 && norm > normMax);
    if (isWithin || shrinks >= SHRINKS_MAX) return { bytes, norm };
    tensors = scaleTensors(tensors, (normMax / norm) * SHRINK);
  }
}
