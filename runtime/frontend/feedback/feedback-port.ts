// The port behind which feedback is kept: an edge keeps it, a gateway passes it on to the edge that
// made the completion. The frontends (HTTP and gRPC) call it.
import type { CompletionName } from "./completion-key.ts";

/** What a completion teaches, in the caller's own words or by its own text. */
export type Lesson =
  | { readonly kind: "correction"; readonly text: string }
  /** Null: the answer as it stood. */
  | { readonly kind: "accepted"; readonly text: string | null };

export interface GivenFeedback extends CompletionName {
  readonly lesson: Lesson | null;
  /** From -1 to 1. */
  readonly rating: number | null;
}

/** What is kept; it holds no text. */
export interface FeedbackReceipt extends CompletionName {
  readonly model: string;
  readonly version: string;
  readonly edge: string;
  readonly region: string;
  readonly lesson: "" | "correction" | "accepted";
  readonly rating: number | null;
  readonly givenMs: number;
}

/**
 * `visited` names the regions whose gateways have passed it on already.
 * Faults of all three: `not-found` for a completion that isn't remembered, or has no feedback.
 */
export interface FeedbackPort {
  give(feedback: GivenFeedback, visited?: readonly string[]): Promise<FeedbackReceipt>;
  get(name: CompletionName, visited?: readonly string[]): Promise<FeedbackReceipt>;
  remove(name: CompletionName, visited?: readonly string[]): Promise<void>;
}

/** Of a lesson's text, in UTF-16 code units. */
export const LESSON_CHARS_MAX = 64 << 10;
export const CHOICE_MAX = 999;
