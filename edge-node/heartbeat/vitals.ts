// Reads how this edge fares: each model's state, memory, GPU, and what is in flight.
import { freemem, totalmem } from "node:os";
import { create } from "@bufbuild/protobuf";
import {
  type DriftScore,
  type GpuState,
  GpuStateSchema,
} from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { AdmittedBackend } from "../admission/admitted-backend.ts";
import type { Engine } from "../engine/engine.ts";
import type { EngineBackend } from "../serving/engine-backend.ts";
import type { ServedModels } from "../serving/served-models.ts";
import type { VersionBook } from "../serving/version-health.ts";
import type { Versions } from "../versions/versions.ts";
import type { Vitals } from "./heart.ts";
import { reportModel } from "./model-report.ts";
import type { PrefixNews } from "./prefix-news.ts";

export interface VitalsSources {
  readonly models: ServedModels;
  readonly versions: Pick<Versions, "names" | "progressOf" | "reconciledRevision">;
  readonly admitted: AdmittedBackend;
  readonly engines: EngineBackend;
  readonly versionBook: Pick<VersionBook, "health">;
  readonly prefixNews: PrefixNews;
  /** What the GPUs' own tool tells; empty where there is none. */
  readonly gpuStates: () => readonly GpuState[];
  readonly isDraining: () => boolean;
  readonly isTraining: () => boolean;
  /** How far recent inputs are from what was trained on; empty where nothing has changed. */
  readonly drift: () => DriftScore[];
}

/** `nowMs` is monotonic. */
export function readVitals(sources: VitalsSources, nowMs: number): Vitals {
  const { models, versions, admitted, engines, prefixNews } = sources;
  const names = new Set([...models.models(), ...versions.names()]);
  prefixNews.keepOnly(names);
  const served = [...names].flatMap((model) => models.active(model)?.engine ?? []);
  return {
    models: [...names].flatMap((model) =>
      reportModel({
        model,
        served: models.active(model),
        progress: versions.progressOf(model),
        load: admitted.loadOf(model),
        streams: engines.streamsOf(model),
        prefixes: prefixNews.of(model, engines.heldBlocks(model), nowMs),
      }),
    ),
    memoryTotalBytes: BigInt(totalmem()),
    memoryFreeBytes: BigInt(freemem()),
    rssBytes: BigInt(rssOf(served)),
    gpus: gpusOf(served, sources.gpuStates()),
    inFlight: admitted.inFlight,
    draining: sources.isDraining(),
    training: sources.isTraining(),
    drift: sources.drift(),
    health: sources.versionBook.health(),
    desiredRevision: versions.reconciledRevision,
  };
}

/** This process and its engines together. */
function rssOf(engines: readonly Engine[]): number {
  const own = process.memoryUsage.rss();
  return engines.reduce((sum, engine) => sum + engine.stats().rssBytes, own);
}

/**
 * The devices that the engines use; none where they use none. The engines share them: any one tells
 * their memory, and the tool, where it exists, tells more.
 */
function gpusOf(engines: readonly Engine[], told: readonly GpuState[]): GpuState[] {
  const engine = engines.find(({ info }) => info.gpu !== "");
  if (engine === undefined) return [];
  if (told.length > 0) return [...told];
  const { gpuUsedBytes, gpuTotalBytes } = engine.stats();
  return [
    create(GpuStateSchema, {
      name: engine.info.gpuDevices.join(", ") || engine.info.gpu,
      vramTotalBytes: BigInt(gpuTotalBytes),
      vramFreeBytes: BigInt(Math.max(0, gpuTotalBytes - gpuUsedBytes)),
    }),
  ];
}
