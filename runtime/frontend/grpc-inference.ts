// The public gRPC service isthmus.v1.Inference over an InferenceBackend.
import { randomUUID } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { Metadata, type ServerWritableStream } from "@grpc/grpc-js";
import { asFault, Fault } from "../../proto/fault.ts";
import {
  type GenerateRequest,
  type GenerateResponse,
  Inference,
  ListModelsResponseSchema,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { type BoundService, bindService, type CallScope } from "../grpc/bridge.ts";
import { resetStream } from "../grpc/stream-reset.ts";
import type { CallContext } from "../inference/backend.ts";
import { type CompletionMeter, createCompletionMeter } from "./completion-meter.ts";
import type { FrontendOptions } from "./frontend-options.ts";
import { checkEmbed, checkGenerate, checkScore } from "./request-rules.ts";

/** Initial metadata that names the request in our logs. */
export const requestIdKey = "isthmus-request-id";

/** Events that may wait for one reader; beyond it the reader is cut off. About half a megabyte. */
const PENDING_EVENTS_MAX = 4096;

export function inferenceService(options: FrontendOptions): BoundService {
  const { backend, log, metrics, clock } = options;
  const meter = createCompletionMeter("grpc", metrics, clock);
  const logged = async <T>(requestId: string, work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (thrown) {
      const fault = asFault(thrown);
      if (fault.code !== "internal") throw fault;
      log.error({ requestId, err: thrown }, "a request failed");
      // What it says may be about our insides, which are not the caller's business.
      throw new Fault("internal", "The server had an error", { stage: fault.stage, cause: thrown });
    }
  };
  return bindService(Inference, {
    generate(call, scope) {
      const requestId = announce(call);
      return logged(requestId, generate(options, meter, call, scope, requestId));
    },
    async embed(request, scope) {
      checkEmbed(request);
      const context = contextOf(scope, randomUUID());
      return logged(context.requestId, backend.embed(request, context));
    },
    async score(request, scope) {
      checkScore(request);
      const context = contextOf(scope, randomUUID());
      return logged(context.requestId, backend.score(request, context));
    },
    async listModels() {
      return create(ListModelsResponseSchema, { models: [...backend.listModels()] });
    },
  });
}

async function generate(
  { backend }: FrontendOptions,
  meter: CompletionMeter,
  call: ServerWritableStream<GenerateRequest, GenerateResponse>,
  scope: CallScope,
  requestId: string,
): Promise<void> {
  checkGenerate(call.request);
  const probe = meter.begin();
  const slow = new AbortController();
  const stopSlow = (): void => slow.abort();
  scope.signal.addEventListener("abort", stopSlow, { once: true });
  let cutOff = false;
  try {
    await backend.generate(
      call.request,
      { ...contextOf(scope, requestId), signal: slow.signal },
      (event) => {
        if (slow.signal.aborted) return;
        call.write(event);
        if (event.event.case === "tokens") probe.tokens(event.event.value.ids.length);
        if (call.writableLength <= PENDING_EVENTS_MAX) return;
        cutOff = true;
        slow.abort();
      },
    );
    if (cutOff)
      throw new Fault("slow-consumer", "The reader is too slow", { stage: "interrupted" });
    probe.end("ok");
  } catch (thrown) {
    probe.end(cutOff ? "slow-consumer" : asFault(thrown).code);
    // Its status would wait behind all that the reader doesn't read.
    if (cutOff) resetStream(call);
    throw thrown;
  }
}

/** Sends the request's id ahead of everything else. */
function announce(call: ServerWritableStream<GenerateRequest, GenerateResponse>): string {
  const requestId = randomUUID();
  const metadata = new Metadata();
  metadata.set(requestIdKey, requestId);
  call.sendMetadata(metadata);
  return requestId;
}

function contextOf(scope: CallScope, requestId: string): CallContext {
  return { signal: scope.signal, requestId, visitedRegions: [], deadlineMs: scope.deadlineMs };
}
