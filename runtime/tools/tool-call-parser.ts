// Reads tool calls out of the text that a model writes, piece by piece as it comes. A call is
//   {"name": NAME, "arguments": {...}}
// with the keys in this order and NAME one of the tools offered. It stands at the start of an
// answer, or anywhere between <tool_call> and </tool_call>, and others may follow it. All the rest
// is text. What comes out doesn't depend on where the text is cut into pieces, so a stream that
// moved to another edge reads like one that didn't.
import { OPENING_TAG, readOpening } from "./tool-call-opening.ts";

export type ToolPiece =
  | { readonly kind: "text"; readonly text: string }
  /** A call begins; its arguments follow. `call` counts from 0. */
  | { readonly kind: "call"; readonly call: number; readonly name: string }
  | { readonly kind: "arguments"; readonly call: number; readonly text: string };

type Mode = "start" | "text" | "arguments" | "closing" | "between" | "over";

const CLOSING_TAG = "</tool_call>";
/** What may stand between two calls, and is left out. */
const SEPARATORS = /^[\s,;\]]+/;
const SPACES = /^\s{0,16}/;

export class ToolCallParser {
  readonly #names: ReadonlySet<string>;
  readonly #callsMax: number;
  #mode: Mode = "start";
  /** What isn't told yet, because what follows decides what it is. */
  #held = "";
  #calls = 0;
  #depth = 0;
  #inString = false;
  #escaped = false;

  /** What comes after the last of `callsMax` calls is left out. */
  constructor(names: ReadonlySet<string>, callsMax: number) {
    this.#names = names;
    this.#callsMax = callsMax;
  }

  /** Calls begun so far. */
  get calls(): number {
    return this.#calls;
  }

  /** Whether the text so far ends inside of a call's arguments. */
  get cutShort(): boolean {
    return this.#mode === "arguments";
  }

  push(text: string): ToolPiece[] {
    this.#held += text;
    const pieces: ToolPiece[] = [];
    while (this.#step(pieces));
    return pieces;
  }

  /** No text follows. */
  end(): ToolPiece[] {
    const held = this.#held;
    this.#held = "";
    const cutTag = this.#mode === "between" && CLOSING_TAG.startsWith(held);
    const told = this.#mode === "start" || this.#mode === "text" || this.#mode === "between";
    return told && !cutTag && held !== "" ? [{ kind: "text", text: held }] : [];
  }

  /** Decides what the held text begins with. False when that takes more text. */
  #step(pieces: ToolPiece[]): boolean {
    switch (this.#mode) {
      case "start":
        return this.#open(pieces, () => {
          this.#mode = "text";
        });
      case "text":
        return this.#readText(pieces);
      case "arguments":
        return this.#readArguments(pieces);
      case "closing":
        return this.#close();
      case "between":
        return this.#readBetween(pieces);
      case "over":
        this.#held = "";
        return false;
    }
  }

  /** Begins a call if the held text does; `otherwise` when it certainly doesn't. */
  #open(pieces: ToolPiece[], otherwise: () => void): boolean {
    const opening = readOpening(this.#held, this.#names);
    if (opening.kind === "partial") return false;
    if (opening.kind === "none") {
      otherwise();
      return true;
    }
    pieces.push({ kind: "call", call: this.#calls, name: opening.name });
    this.#calls++;
    this.#held = this.#held.slice(opening.argumentsAt);
    this.#mode = "arguments";
    this.#depth = 0;
    return true;
  }

  #readText(pieces: ToolPiece[]): boolean {
    const at = this.#held.indexOf(OPENING_TAG);
    if (at === 0) {
      return this.#open(pieces, () => this.#tell(OPENING_TAG.length, pieces));
    }
    this.#tell(at < 0 ? this.#held.length - tagBegun(this.#held) : at, pieces);
    return at > 0;
  }

  #tell(length: number, pieces: ToolPiece[]): void {
    if (length === 0) return;
    pieces.push({ kind: "text", text: this.#held.slice(0, length) });
    this.#held = this.#held.slice(length);
  }

  #readArguments(pieces: ToolPiece[]): boolean {
    const end = this.#scan();
    const text = this.#held.slice(0, end);
    if (text !== "") pieces.push({ kind: "arguments", call: this.#calls - 1, text });
    this.#held = this.#held.slice(end);
    if (this.#depth > 0) return false;
    this.#mode = "closing";
    return true;
  }

  /** How much of the held text belongs to the arguments. */
  #scan(): number {
    for (let at = 0; at < this.#held.length; at++) {
      const character = this.#held[at]!;
      if (this.#escaped) this.#escaped = false;
      else if (character === "\\") this.#escaped = this.#inString;
      else if (character === '"') this.#inString = !this.#inString;
      else if (this.#inString) continue;
      else if (character === "{" || character === "[") this.#depth++;
      else if ((character === "}" || character === "]") && --this.#depth === 0) return at + 1;
    }
    return this.#held.length;
  }

  #close(): boolean {
    const rest = this.#held.replace(SPACES, "");
    if (rest === "") return false;
    if (rest.startsWith("}")) this.#held = rest.slice(1);
    this.#mode = this.#calls >= this.#callsMax ? "over" : "between";
    return true;
  }

  #readBetween(pieces: ToolPiece[]): boolean {
    this.#held = this.#held.replace(SEPARATORS, "");
    if (this.#held.startsWith(CLOSING_TAG)) {
      this.#held = this.#held.slice(CLOSING_TAG.length);
      return true;
    }
    if (CLOSING_TAG.startsWith(this.#held)) return false;
    return this.#open(pieces, () => {
      this.#mode = "text";
    });
  }
}

/** Length of the longest beginning of a tag that the text ends with. */
function tagBegun(text: string): number {
  for (let length = Math.min(text.length, OPENING_TAG.length - 1); length > 0; length--) {
    if (OPENING_TAG.startsWith(text.slice(-length))) return length;
  }
  return 0;
}
