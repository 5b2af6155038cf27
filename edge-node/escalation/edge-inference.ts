// The public Inference service of an edge. Its region calls it too, for what doesn't travel by
// trunk (embeddings, scores): those calls are served here or not at all, because the region is
// where they would be escalated to.
import type { Metadata } from "@grpc/grpc-js";
import type { FrontendOptions } from "../../runtime/frontend/frontend-options.ts";
import { inferenceService } from "../../runtime/frontend/grpc-inference.ts";
import type { BoundService } from "../../runtime/grpc/bridge.ts";
import type { InferenceBackend } from "../../runtime/inference/backend.ts";
import { visitedRegionsOf } from "../../runtime/trunk/visited-metadata.ts";

type Handler = (call: { readonly metadata: Metadata }, ...rest: unknown[]) => unknown;

/** Serves direct callers by `options.backend`, and what a region sent by `local`. */
export function edgeInferenceService(
  options: FrontendOptions,
  local: InferenceBackend,
): BoundService {
  const direct = inferenceService(options);
  const fromRegion = inferenceService({ ...options, backend: local });
  const handlers = Object.entries(direct.handlers).map(([name, handler]) => {
    const choose: Handler = (call, ...rest) => {
      const isFromRegion = visitedRegionsOf(call.metadata).length > 0;
      const chosen = isFromRegion ? fromRegion.handlers[name] : handler;
      return (chosen as unknown as Handler)(call, ...rest);
    };
    return [name, choose] as const;
  });
  return { ...direct, handlers: Object.fromEntries(handlers) as BoundService["handlers"] };
}
