// The state of one completion, apart from any model: which ids it has, what text they make, and
// when it is over. Replaying delivered ids brings it to the same state on any node.
import { CompletionText } from "./completion-text.ts";
import type { Resume } from "./engine.ts";

export interface CompletionLimits {
  /** Most ids of the whole completion; at least 1. */
  readonly tokensMax: number;
  readonly stop: readonly string[];
}

export interface CompletionVocabulary {
  /** Bytes of text that the token stands for; empty for a control token. */
  pieceOf(id: number): Uint8Array;
  endsGeneration(id: number): boolean;
}

export interface CompletionEnd {
  readonly reason: "stop" | "length";
  readonly stopSequence: string | null;
  readonly endToken: number | null;
  /** Text that was held back and belongs to the end. */
  readonly text: string;
}

export interface CompletionStep {
  /** Text that became final with this token. */
  readonly text: string;
  readonly end: CompletionEnd | null;
}

export class Completion {
  readonly ids: number[] = [];
  /** Set once the resumed ids alone have ended the completion. */
  readonly resumedEnd: CompletionEnd | null;
  readonly #limits: CompletionLimits;
  readonly #vocabulary: CompletionVocabulary;
  readonly #text: CompletionText;
  /** Text that the resumed ids release beyond what was delivered. */
  #owedText = "";
  /** Code units still to come that the caller has already. */
  #deliveredAhead = 0;

  constructor(limits: CompletionLimits, vocabulary: CompletionVocabulary, resume: Resume | null) {
    this.#limits = limits;
    this.#vocabulary = vocabulary;
    this.#text = new CompletionText(limits.stop);
    this.resumedEnd = resume === null ? null : this.#replay(resume);
  }

  /** Takes the next sampled token. An end-of-generation token ends it and isn't kept. */
  accept(id: number): CompletionStep {
    const step = this.#advance(id);
    const text = this.#undelivered(step.text);
    if (step.end === null) return { text, end: null };
    return { text, end: { ...step.end, text: this.#undelivered(step.end.text) } };
  }

  #advance(id: number): CompletionStep {
    if (this.#vocabulary.endsGeneration(id)) return { text: "", end: this.#end("stop", id) };
    this.ids.push(id);
    const { text, stopSequence } = this.#text.push(this.#vocabulary.pieceOf(id));
    if (stopSequence !== null) {
      return { text, end: { reason: "stop", stopSequence, endToken: null, text: "" } };
    }
    const full = this.ids.length >= this.#limits.tokensMax;
    return { text, end: full ? this.#end("length", null) : null };
  }

  #end(reason: "stop" | "length", endToken: number | null): CompletionEnd {
    const { text, stopSequence } = this.#text.flush();
    if (stopSequence !== null) return { reason: "stop", stopSequence, endToken: null, text };
    return { reason, stopSequence: null, endToken, text };
  }

  #replay(resume: Resume): CompletionEnd | null {
    let released = "";
    for (const id of resume.tokens) {
      const step = this.#advance(id);
      released += step.text;
      if (step.end !== null) {
        const text = (released + step.end.text).slice(resume.textLength);
        return { ...step.end, text };
      }
    }
    this.#owedText = released.slice(resume.textLength);
    this.#deliveredAhead = Math.max(0, resume.textLength - released.length);
    return null;
  }

  #undelivered(text: string): string {
    if (this.#owedText === "" && this.#deliveredAhead === 0) return text;
    const known = Math.min(this.#deliveredAhead, text.length);
    this.#deliveredAhead -= known;
    const fresh = this.#owedText + text.slice(known);
    this.#owedText = "";
    return fresh;
  }
}
