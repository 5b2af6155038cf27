// The public Inference service of a region. Other regions call it too, for what doesn't travel by
// trunk (embeddings, scores), and name the regions that the call has passed: those count here as
// they do for completions, so that no call goes in circles.
import type { Metadata } from "@grpc/grpc-js";
import { LRUCache } from "lru-cache";
import type { FrontendOptions } from "../../runtime/frontend/frontend-options.ts";
import { inferenceService } from "../../runtime/frontend/grpc-inference.ts";
import type { BoundService } from "../../runtime/grpc/bridge.ts";
import type { InferenceBackend } from "../../runtime/inference/backend.ts";
import { visitedRegionsOf } from "../../runtime/trunk/visited-metadata.ts";

/** Different ways that calls have come; there are few, but a caller may write what it likes. */
const WAYS_MAX = 64;

type Handler = (call: { readonly metadata: Metadata }, ...rest: unknown[]) => unknown;

export function gatewayInferenceService(options: FrontendOptions): BoundService {
  const direct = inferenceService(options);
  const ways = new LRUCache<string, BoundService>({ max: WAYS_MAX });
  const serviceFor = (visited: readonly string[]): BoundService => {
    if (visited.length === 0) return direct;
    const way = visited.join(",");
    const known = ways.get(way);
    if (known !== undefined) return known;
    const backend = passedBy(options.backend, visited);
    const made = inferenceService({ ...options, backend });
    ways.set(way, made);
    return made;
  };
  const handlers = Object.keys(direct.handlers).map((name) => {
    const choose: Handler = (call, ...rest) => {
      const chosen = serviceFor(visitedRegionsOf(call.metadata)).handlers[name];
      return (chosen as unknown as Handler)(call, ...rest);
    };
    return [name, choose] as const;
  });
  return { ...direct, handlers: Object.fromEntries(handlers) as BoundService["handlers"] };
}

/** The same backend, for calls that have passed these regions. */
function passedBy(backend: InferenceBackend, visitedRegions: readonly string[]): InferenceBackend {
  return {
    generate: (request, context, onEvent) =>
      backend.generate(request, { ...context, visitedRegions }, onEvent),
    embed: (request, context) => backend.embed(request, { ...context, visitedRegions }),
    score: (request, context) => backend.score(request, { ...context, visitedRegions }),
    listModels: () => backend.listModels(),
  };
}
