// The port to a peer process that makes completions: many at once over a few long-lived streams.
import type {
  EmbedRequest,
  EmbedResponse,
  GenerateRequest,
  ScoreRequest,
  ScoreResponse,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { CallContext, OnEvent } from "../inference/backend.ts";

/** connecting until the first answer; then up or down. */
export type TrunkState = "connecting" | "up" | "down";

export interface Trunk {
  /** host:port of the peer. */
  readonly address: string;
  readonly state: TrunkState;
  /** Smoothed round trip of in-band pings; 0 before the first. */
  readonly rttMs: number;
  /** How long the peer has said nothing, in steps of the check; pings make it speak often. */
  readonly silentMs: number;
  /** Completions under way. */
  readonly inFlight: number;
  /**
   * As in InferenceBackend. Faults: link-lost at once when the trunk isn't up, and within two
   * seconds when the peer dies or freezes midway; overloaded beyond the bound in flight.
   */
  generate(request: GenerateRequest, context: CallContext, onEvent: OnEvent): Promise<void>;
  embed(request: EmbedRequest, context: CallContext): Promise<EmbedResponse>;
  score(request: ScoreRequest, context: CallContext): Promise<ScoreResponse>;
  /** Calls at each change of state, once what was in flight is rejected. Returns the undo. */
  onState(listener: (state: TrunkState) => void): () => void;
  /** Rejects what is in flight with link-lost and stops reconnecting. */
  close(): void;
}
