// Reads how this edge fares: each model's state, memory, GPU, and what is in flight.
import { freemem, totalmem } from "node:os";
import { create } from "@bufbuild/protobuf";
import { type GpuState, GpuStateSchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { AdmittedBackend } from "../admission/admitted-backend.ts";
import type { Engine } from "../engine/engine.ts";
import type { EngineBackend } from "../serving/engine-backend.ts";
import type { ServedModels } from "../serving/served-models.ts";
import type { Versions } from "../versions/versions.ts";
import type { Vitals } from "./heart.ts";
import { reportModel } from "./model-report.ts";

export interface VitalsSources {
  readonly models: ServedModels;
  readonly versions: Pick<Versions, "names" | "progressOf" | "reconciledRevision">;
  readonly admitted: AdmittedBackend;
  readonly engines: EngineBackend;
  readonly isDraining: () => boolean;
  readonly isTraining: () => boolean;
}

export function readVitals(sources: VitalsSources): Vitals {
  const { models, versions, admitted, engines } = sources;
  const names = new Set([...models.models(), ...versions.names()]);
  const served = [...names].flatMap((model) => models.active(model)?.engine ?? []);
  return {
    models: [...names].flatMap((model) =>
      reportModel({
        model,
        served: models.active(model),
        progress: versions.progressOf(model),
        load: admitted.loadOf(model),
        remainingTokensMean: engines.streamsOf(model).remainingTokensMean,
      }),
    ),
    memoryTotalBytes: BigInt(totalmem()),
    memoryFreeBytes: BigInt(freemem()),
    rssBytes: BigInt(rssOf(served)),
    gpus: gpusOf(served),
    inFlight: admitted.inFlight,
    draining: sources.isDraining(),
    training: sources.isTraining(),
    desiredRevision: versions.reconciledRevision,
  };
}

/** This process and its engines together. */
function rssOf(engines: readonly Engine[]): number {
  const own = process.memoryUsage.rss();
  return engines.reduce((sum, engine) => sum + engine.stats().rssBytes, own);
}

/** The engines share the machine's devices: any one that uses them tells their state. */
function gpusOf(engines: readonly Engine[]): GpuState[] {
  const engine = engines.find(({ info }) => info.gpu !== "");
  if (engine === undefined) return [];
  const { gpuUsedBytes, gpuTotalBytes } = engine.stats();
  return [
    create(GpuStateSchema, {
      name: engine.info.gpuDevices.join(", ") || engine.info.gpu,
      vramTotalBytes: BigInt(gpuTotalBytes),
      vramFreeBytes: BigInt(Math.max(0, gpuTotalBytes - gpuUsedBytes)),
    }),
  ];
}
