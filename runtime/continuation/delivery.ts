// What of one completion the caller already has, and what of a source's next batch is new to it.
//
// Ids are counted by index. Text is counted in UTF-16 code units; a batch doesn't say where its
// text starts, so each source has a cursor, and the text length is remembered at every boundary
// between batches: a source that starts again from an earlier boundary is followed exactly, and one
// that starts where the text position is unknown is refused rather than guessed.
import { create } from "@bufbuild/protobuf";
import {
  type GenerateResponse,
  GenerateResponseSchema,
  type Resume,
  type Tokens,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";

export interface Delivery {
  readonly ids: number[];
  /** Text length once this many ids were delivered; UNKNOWN inside a batch of several. */
  readonly textAfter: number[];
  textLength: number;
  /** All of it; empty when the caller's own `resume` came without. */
  text: string;
}

/** How far one source has come in the same completion. */
export interface Cursor {
  index: number;
  text: number;
}

/** What a batch comes to: an event to pass on, nothing new, or a source that can't be followed. */
export type Accepted =
  | { readonly kind: "emit"; readonly event: GenerateResponse }
  | { readonly kind: "nothing" }
  | { readonly kind: "broken"; readonly reason: string };

const UNKNOWN = -1;
const nothing: Accepted = { kind: "nothing" };

export function createDelivery(resume: Resume | undefined): Delivery {
  const delivery: Delivery = { ids: [], textAfter: [0], textLength: 0, text: "" };
  if (resume === undefined) return delivery;
  append(delivery, resume.ids, resume.text);
  setTextLength(delivery, resume.textLength);
  return delivery;
}

/** Where a source starts that was told to resume after everything delivered. */
export function cursorAtEnd(delivery: Delivery): Cursor {
  return { index: delivery.ids.length, text: delivery.textLength };
}

/** Takes one batch of a source; advances the delivery and the source's cursor. */
export function acceptTokens(
  delivery: Delivery,
  cursor: Cursor,
  event: GenerateResponse,
  tokens: Tokens,
): Accepted {
  const delivered = delivery.ids.length;
  if (tokens.index > cursor.index) {
    return broken(`token ${cursor.index} is missing: the source went on with ${tokens.index}`);
  }
  const textStart = startOfText(delivery, cursor, tokens);
  if (textStart === UNKNOWN) {
    return broken(`the text position before token ${tokens.index} is unknown`);
  }
  const overlap = Math.min(delivered - tokens.index, tokens.ids.length);
  if (!sameIds(delivery.ids, tokens, overlap)) {
    return broken("the source repeats other tokens than those delivered");
  }
  const text = unseenText(delivery, textStart, tokens.text);
  if (text === null) return broken("text is missing between two batches");
  cursor.index = tokens.index + tokens.ids.length;
  cursor.text = textStart + tokens.text.length;
  if (overlap === 0 && text.length === tokens.text.length) {
    append(delivery, tokens.ids, text);
    return { kind: "emit", event };
  }
  const ids = tokens.ids.slice(overlap);
  if (ids.length === 0 && text.length === 0) return nothing;
  const logprobs = tokens.logprobs.slice(overlap);
  append(delivery, ids, text);
  return { kind: "emit", event: tokensEvent(delivered, ids, text, logprobs) };
}

/** The part of the text held back until the end that is new, or null when the source is short. */
export function acceptFinalText(delivery: Delivery, cursor: Cursor, text: string): string | null {
  if (cursor.index !== delivery.ids.length) return null;
  const unseen = unseenText(delivery, cursor.text, text);
  if (unseen !== null) append(delivery, [], unseen);
  return unseen;
}

function startOfText(delivery: Delivery, cursor: Cursor, tokens: Tokens): number {
  if (tokens.index === cursor.index) return cursor.text;
  if (tokens.ids.length === 0) return UNKNOWN;
  return delivery.textAfter[tokens.index] ?? UNKNOWN;
}

function sameIds(delivered: readonly number[], tokens: Tokens, overlap: number): boolean {
  for (let k = 0; k < overlap; k += 1) {
    if (delivered[tokens.index + k] !== tokens.ids[k]) return false;
  }
  return true;
}

function unseenText(delivery: Delivery, start: number, text: string): string | null {
  if (start > delivery.textLength) return null;
  return start === delivery.textLength ? text : text.slice(delivery.textLength - start);
}

function append(delivery: Delivery, ids: readonly number[], text: string): void {
  for (const id of ids) {
    delivery.ids.push(id);
    delivery.textAfter.push(UNKNOWN);
  }
  delivery.text += text;
  setTextLength(delivery, delivery.textLength + text.length);
}

function setTextLength(delivery: Delivery, textLength: number): void {
  delivery.textLength = textLength;
  delivery.textAfter[delivery.ids.length] = textLength;
}

function tokensEvent(
  index: number,
  ids: number[],
  text: string,
  logprobs: Tokens["logprobs"],
): GenerateResponse {
  return create(GenerateResponseSchema, {
    event: { case: "tokens", value: { index, ids, text, logprobs } },
  });
}

function broken(reason: string): Accepted {
  return { kind: "broken", reason };
}
