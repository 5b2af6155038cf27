// What a heartbeat tells of each model: which version is served and how loaded it is, in the
// engine's own measured rates; and how far the next version is.
//
// The first entry of a model is about what is served, if anything is. While another version is on
// its way, or can't be brought here, a second one tells of that, without any load.
import { create } from "@bufbuild/protobuf";
import {
  type ModelState,
  ModelStateSchema,
  ModelStatus,
  type PrefixDigest,
} from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { AdmissionLoad } from "../admission/admitted-backend.ts";
import type { EngineState } from "../engine/engine.ts";
import type { ServedVersion } from "../serving/served-models.ts";
import type { StreamMeter } from "../serving/stream-meter.ts";
import type { Progress } from "../versions/model-reconciler.ts";

export interface ModelView {
  readonly model: string;
  readonly served: ServedVersion | undefined;
  readonly progress: Progress;
  readonly load: AdmissionLoad;
  readonly streams: Pick<StreamMeter, "prefilling" | "remainingTokensMean" | "interTokenP99Ms">;
  /** Undefined where what was told before holds. */
  readonly prefixes: PrefixDigest | undefined;
}

const engineStatus: Record<EngineState, ModelStatus> = {
  loading: ModelStatus.LOADING,
  ready: ModelStatus.READY,
  failed: ModelStatus.FAILED,
  closed: ModelStatus.FAILED,
};

const progressStatus = {
  fetching: ModelStatus.FETCHING,
  loading: ModelStatus.LOADING,
  failed: ModelStatus.FAILED,
} as const;

/** One entry, or two; the served version first. */
export function reportModel(view: ModelView): ModelState[] {
  const { model, served, progress } = view;
  const entries: ModelState[] = [];
  if (served !== undefined) entries.push(reportServed(view, served));
  if (progress.kind !== "settled") {
    entries.push(create(ModelStateSchema, { model, ...pending(progress) }));
  }
  return entries;
}

function reportServed(
  { model, load, streams, prefixes }: ModelView,
  { engine, version }: ServedVersion,
): ModelState {
  const stats = engine.stats();
  return create(ModelStateSchema, {
    model,
    version,
    status: engineStatus[engine.state],
    reason: engine.state === "ready" ? "" : `the engine is ${engine.state}`,
    slots: load.slots,
    active: load.active,
    queued: load.queued,
    queueMax: load.queueMax,
    prefillTokensPerS: stats.prefillTokensPerSecond,
    decodeTokensPerS: stats.decodeTokensPerSecondPerStream,
    loadMs: engine.info.loadMs,
    contextLength: engine.info.contextSize,
    architecture: engine.info.architecture,
    remainingTokensMean: streams.remainingTokensMean,
    concurrencyLimit: load.limit,
    prefilling: streams.prefilling,
    interTokenP99Ms: streams.interTokenP99Ms,
    ...(prefixes === undefined ? {} : { prefixes }),
  });
}

function pending(progress: Exclude<Progress, { kind: "settled" }>) {
  const { kind, version, bytes } = progress;
  const reason = kind === "failed" ? progress.reason : "";
  return { version, status: progressStatus[kind], reason, memoryNeededBytes: BigInt(bytes) };
}
