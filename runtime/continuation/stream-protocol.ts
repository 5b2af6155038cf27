// What the core of a stream takes in and gives out.
import type { Fault } from "../../proto/fault.ts";
import type { GenerateRequest, GenerateResponse } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { Answer } from "../inference/inquiry.ts";
import type { SourceHints } from "./candidate.ts";

/** The answer to a pick: which source, and what is expected of it. */
export interface Picked extends SourceHints {
  readonly kind: "picked";
  readonly key: string;
  readonly edge: string;
  readonly region?: string;
}

export type StreamInput =
  | { readonly kind: "begin" }
  | Picked
  | { readonly kind: "nowhere"; readonly fault: Fault | null }
  | { readonly kind: "event"; readonly attempt: number; readonly event: GenerateResponse }
  | { readonly kind: "failed"; readonly attempt: number; readonly fault: Fault }
  | { readonly kind: "ended"; readonly attempt: number }
  | { readonly kind: "waited" }
  /** Comes every `bounds.silence.tickMs` while the stream lasts. */
  | { readonly kind: "tick" }
  | { readonly kind: "answered"; readonly attempt: number; readonly answer: Answer }
  /** The time of a `hedge-after` has come. */
  | { readonly kind: "overdue"; readonly attempt: number }
  | { readonly kind: "move-away"; readonly key: string; readonly reason: string }
  | { readonly kind: "stopped"; readonly fault: Fault };

export type StreamEffect =
  /** Answered by `picked` or `nowhere`; nothing in `excluded` may be picked. */
  | { readonly kind: "pick"; readonly excluded: ReadonlySet<string>; readonly isHedge: boolean }
  | {
      readonly kind: "open";
      readonly attempt: number;
      readonly request: GenerateRequest;
      readonly isHedge: boolean;
    }
  | { readonly kind: "emit"; readonly event: GenerateResponse }
  /** `fault` says what the source did wrong; null when it did nothing wrong. */
  | { readonly kind: "abort"; readonly attempt: number; readonly fault: Fault | null }
  | { readonly kind: "wait"; readonly delayMs: number }
  /** Ask the source how the completion stands. */
  | { readonly kind: "ask"; readonly attempt: number }
  | { readonly kind: "hedge-after"; readonly attempt: number; readonly delayMs: number }
  /** A stream that had begun has left a source. For logs and metrics. */
  | { readonly kind: "left"; readonly key: string; readonly fault: Fault }
  | { readonly kind: "settle"; readonly fault: Fault | null };
