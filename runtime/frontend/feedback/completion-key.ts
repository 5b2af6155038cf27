// By what a completion is named afterwards: the id that its request had, and its choice.
import { Fault } from "../../../proto/fault.ts";

/** As OpenAI answers carry it, as gRPC's initial metadata does, or as a key itself. */
const idPattern =
  /^(?:chatcmpl-|cmpl-)?([a-zA-Z0-9](?:[a-zA-Z0-9_-]{0,126}[a-zA-Z0-9])?)(\.\d{1,3})?$/;

export interface CompletionName {
  readonly id: string;
  readonly choice: number;
}

/** The key of one choice of a request: the request's id, and `.N` behind it for the later ones. */
export function completionKey(requestId: string, choice: number): string {
  return choice === 0 ? requestId : `${requestId}.${choice}`;
}

/** Reads what a caller calls it. Faults: `invalid-argument`. */
export function completionName(id: string, choice: number): CompletionName {
  const [, plain, suffix] = idPattern.exec(id) ?? [];
  if (plain === undefined) {
    throw new Fault("invalid-argument", "id isn't that of a completion", { param: "id" });
  }
  return { id: plain, choice: suffix === undefined ? choice : Number(suffix.slice(1)) };
}
