// The port behind which a completion is made: an engine, a trunk to another process, a router over
// many edges. Frontends (OpenAI, gRPC, trunk) call it; admission and continuation wrap it.
import type {
  EmbedRequest,
  EmbedResponse,
  GenerateRequest,
  GenerateResponse,
  ModelInfo,
  ScoreRequest,
  ScoreResponse,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { Inquiry } from "./inquiry.ts";

export interface CallContext {
  /** Aborted when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
  /** For logs and traces, and what feedback names the completion by. */
  readonly requestId: string;
  /** Which of several completions that one request asked for, from 0; unset is the first. */
  readonly choice?: number;
  /** Regions that the request has already passed. */
  readonly visitedRegions: readonly string[];
  /** Unix milliseconds; Infinity when the caller set none. */
  readonly deadlineMs: number;
  /** Left by a caller who may ask how the completion stands; the backend says who answers. */
  readonly inquiry?: Inquiry;
}

export type OnEvent = (event: GenerateResponse) => void;

export interface InferenceBackend {
  /**
   * Makes one completion. Calls `onEvent` with one `started`, any number of `tokens`, one
   * `finished`, in order and never after it settled; resolves after `finished`.
   * Faults: rejects with a Fault; whatever was delivered before stays valid and can be resumed.
   */
  generate(request: GenerateRequest, context: CallContext, onEvent: OnEvent): Promise<void>;
  embed(request: EmbedRequest, context: CallContext): Promise<EmbedResponse>;
  score(request: ScoreRequest, context: CallContext): Promise<ScoreResponse>;
  listModels(): readonly ModelInfo[];
}
