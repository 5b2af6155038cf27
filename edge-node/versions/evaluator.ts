// Evaluates a version as it would be served: opens it beside the served one and asks it through
// this edge's own admission.
import type { ModelVersion } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { InferenceBackend } from "../../runtime/inference/backend.ts";
import type { Evaluator } from "../learning/evaluation.ts";
import { countExact } from "../serving/exact-match.ts";
import type { VersionLease } from "./model-reconciler.ts";

export interface EvaluatorOptions {
  readonly backend: Pick<InferenceBackend, "generate">;
  readonly lease: (version: ModelVersion, signal: AbortSignal) => Promise<VersionLease>;
  /** Slots of the model; an evaluation takes half of them. */
  readonly slotsOf: (model: string) => number | undefined;
  readonly clock: Clock;
}

/** The last version that was to be kept open stays so until the next such one. */
export function createEvaluator(options: EvaluatorOptions): Evaluator {
  const { backend, lease, slotsOf, clock } = options;
  let kept: VersionLease | undefined;
  return async (version, examples, { signal, keepOpen }) => {
    const { model } = version;
    const open = await lease(version, signal);
    try {
      const width = Math.ceil((slotsOf(model) ?? 1) / 2);
      const asked = { backend, model, version: open.version, width, clock, signal };
      return await countExact(examples, asked);
    } finally {
      const done = keepOpen ? kept : open;
      if (keepOpen) kept = open;
      done?.release();
    }
  };
}
