// What a call of the Inference service asks of routing.
import {
  type EmbedRequest,
  type GenerateRequest,
  Priority,
  type ScoreRequest,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { CallContext } from "../../runtime/inference/backend.ts";
import { promptBlocks } from "../../runtime/prefix/prompt-blocks.ts";
import { anyPolicy, plainRequest, type RouteRequest } from "../route/route-request.ts";
import type { RouteTable } from "../route/route-table.ts";
import { embedTokens, estimatedPromptTokens } from "./request-size.ts";

/** Of what is usually to come, a stream that is already longer still has this share before it. */
const LEFT_SHARE = 0.25;

export function generateRoute(
  request: GenerateRequest,
  context: CallContext,
  table: RouteTable,
  clock: Clock,
): RouteRequest {
  const { model, version, resume, sessionId, tenant, policy, maxTokens } = request;
  const delivered = resume?.ids.length ?? 0;
  const promptTokens = estimatedPromptTokens(request);
  const whole = table.expectedTokens({ model, tenant, promptTokens, maxTokens });
  const left = Math.max(whole - delivered, whole * LEFT_SHARE);
  const bound = maxTokens > 0 ? Math.max(1, maxTokens - delivered) : Infinity;
  return {
    ...{ model, version, sessionId, tenant, policy: policy ?? anyPolicy },
    preferredVersion: resume?.version ?? "",
    promptTokens: promptTokens + delivered,
    expectedTokens: Math.min(left, bound),
    blocks: promptBlocks(request),
    priority: request.priority === Priority.BATCH ? "batch" : "interactive",
    deadlineMs: clock.monotonicMs() + (context.deadlineMs - clock.now()),
  };
}

export function scoreRoute(request: ScoreRequest): RouteRequest {
  const { model, version, ids, tenant, policy } = request;
  const tokens = estimatedPromptTokens(request) + ids.length;
  return { ...plainRequest(model, tokens), version, tenant, policy: policy ?? anyPolicy };
}

export function embedRoute(request: EmbedRequest): RouteRequest {
  const { model, tenant, policy } = request;
  return { ...plainRequest(model, embedTokens(request)), tenant, policy: policy ?? anyPolicy };
}
