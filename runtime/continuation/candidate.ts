// Where a stream can be served: the sources among which a continuation chooses.
import type { Fault } from "../../proto/fault.ts";
import type { GenerateRequest } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { CallContext, OnEvent } from "../inference/backend.ts";

/**
 * What is expected of a source, where it is known. It decides when a silence is suspicious and when
 * a second source is started; nothing else hangs on it.
 */
export interface SourceHints {
  /** The source's own 99th percentile between two tokens of one stream. */
  readonly interTokenP99Ms?: number;
  /** Predicted from asking to the first token there: queue, load, prefill and first step. */
  readonly predictedTtftMs?: number;
  /** Start a second source when this one has no token after so long; absent: never. */
  readonly hedgeAfterMs?: number;
}

/** One place that can make, or go on with, a completion. */
export interface Candidate extends SourceHints {
  /** Tells candidates apart within one stream, e.g. `us/us-1`. */
  readonly key: string;
  /** The edge, or empty when a whole region stands behind the candidate. */
  readonly edge: string;
  readonly region: string;
  /** As in InferenceBackend. Must honour `request.resume` and `context.signal`. */
  generate(request: GenerateRequest, context: CallContext, onEvent: OnEvent): Promise<void>;
}

/** What a source of candidates gets to know about the stream. */
export interface StreamView {
  readonly request: GenerateRequest;
  readonly context: CallContext;
  /** Tokens delivered so far, those of the caller's own `resume` included. */
  readonly deliveredTokens: number;
  /** Sources opened so far. */
  readonly attempts: number;
}

/**
 * Chooses where the stream goes next, never a key in `excluded`. Null or a Fault means that there
 * is nowhere now; the Fault says why and is what the caller gets when the stream ends by it.
 */
export type PickCandidate = (
  excluded: ReadonlySet<string>,
  stream: StreamView,
) => Candidate | Fault | null;
