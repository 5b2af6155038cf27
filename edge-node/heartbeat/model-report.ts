// What a heartbeat tells of each model: which version is served and how loaded it is, in the
// engine's own measured rates; and how far the next version is.
//
// There is one entry for each model. As long as a version is served the entry is about it, ready,
// and `reason` tells what keeps a newer one waiting; otherwise it is about the wanted one.
import { create } from "@bufbuild/protobuf";
import {
  type ModelState,
  ModelStateSchema,
  ModelStatus,
} from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { AdmissionLoad } from "../admission/admitted-backend.ts";
import type { EngineState } from "../engine/engine.ts";
import type { ServedVersion } from "../serving/served-models.ts";
import type { Progress } from "../versions/model-reconciler.ts";

export interface ModelView {
  readonly model: string;
  readonly served: ServedVersion | undefined;
  readonly progress: Progress;
  readonly load: AdmissionLoad;
  readonly remainingTokensMean: number;
}

const engineStatus: Record<EngineState, ModelStatus> = {
  loading: ModelStatus.LOADING,
  ready: ModelStatus.READY,
  failed: ModelStatus.FAILED,
  closed: ModelStatus.FAILED,
};

export function reportModel(view: ModelView): ModelState {
  const { model, served, progress, load } = view;
  if (served === undefined) return create(ModelStateSchema, { model, ...waiting(progress) });
  const { engine, version } = served;
  const stats = engine.stats();
  return create(ModelStateSchema, {
    model,
    version,
    status: engineStatus[engine.state],
    reason: engine.state === "ready" ? reasonOf(progress) : `the engine is ${engine.state}`,
    slots: load.slots,
    active: load.active,
    queued: load.queued,
    queueMax: load.queueMax,
    prefillTokensPerS: stats.prefillTokensPerSecond,
    decodeTokensPerS: stats.decodeTokensPerSecondPerStream,
    loadMs: engine.info.loadMs,
    contextLength: engine.info.contextSize,
    architecture: engine.info.architecture,
    remainingTokensMean: view.remainingTokensMean,
  });
}

function waiting(progress: Progress): { version: string; status: ModelStatus; reason: string } {
  switch (progress.kind) {
    case "settled":
      return { version: "", status: ModelStatus.FETCHING, reason: "" };
    case "fetching":
      return { version: progress.version, status: ModelStatus.FETCHING, reason: "" };
    case "loading":
      return { version: progress.version, status: ModelStatus.LOADING, reason: "" };
    case "failed":
      return {
        version: progress.version,
        status: ModelStatus.FAILED,
        reason: progress.reason,
      };
  }
}

function reasonOf(progress: Progress): string {
  if (progress.kind === "settled") return "";
  if (progress.kind === "failed") return `${progress.version} failed: ${progress.reason}`;
  return `${progress.version} ${progress.kind}`;
}
