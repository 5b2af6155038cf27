// Recognizes how a tool call begins, while the text is still coming: everything from the first
// character up to the brace that opens the arguments.

export const OPENING_TAG = "<tool_call>";

export type Opening =
  | { readonly kind: "none" }
  /** So far it could become one. */
  | { readonly kind: "partial" }
  | { readonly kind: "call"; readonly name: string; readonly argumentsAt: number };

/** Reads one part at a position: the position behind it, or one of the two below. */
type Part = (text: string, at: number) => number;

const MISMATCH = -1;
/** The text ended before the part did. */
const PARTIAL = -2;
const SPACES_MAX = 16;
const NAME_CHARS_MAX = 64;
const NAME_CHARACTER = /[a-zA-Z0-9_-]/;

const run =
  (belongs: (character: string) => boolean, max: number): Part =>
  (text, at) => {
    let end = at;
    while (end < text.length && end - at < max && belongs(text[end]!)) end++;
    return end === text.length ? PARTIAL : end;
  };

const word =
  (...words: readonly string[]): Part =>
  (text, at) => {
    const found = words.find((one) => text.startsWith(one, at));
    if (found !== undefined) return at + found.length;
    const rest = text.slice(at);
    return words.some((one) => one.startsWith(rest)) ? PARTIAL : MISMATCH;
  };

const maybe =
  (only: string): Part =>
  (text, at) =>
    at < text.length && text[at] !== only[0] ? at : word(only)(text, at);

const space = run((character) => /\s/.test(character), SPACES_MAX);
const name = run((character) => NAME_CHARACTER.test(character), NAME_CHARS_MAX);

/** A list of calls is what some models write. */
const start = [space, maybe(OPENING_TAG), space, maybe("["), space, word("{"), space];
const key = [word('"name"'), space, word(":"), space, word('"')];
/** "parameters" is what some models call the arguments. */
const argumentsKey = [space, word('"arguments"', '"parameters"'), space, word(":"), space];
const head: readonly Part[] = [...start, ...key];
const tail: readonly Part[] = [word('"'), space, word(","), ...argumentsKey, word("{")];

/** Whether `text` begins with a call of one of `names`. */
export function readOpening(text: string, names: ReadonlySet<string>): Opening {
  const nameAt = readParts(text, 0, head);
  if (nameAt < 0) return { kind: nameAt === PARTIAL ? "partial" : "none" };
  const nameEnd = name(text, nameAt);
  if (nameEnd === PARTIAL) return { kind: "partial" };
  const called = text.slice(nameAt, nameEnd);
  if (!names.has(called)) return { kind: "none" };
  const end = readParts(text, nameEnd, tail);
  if (end < 0) return { kind: end === PARTIAL ? "partial" : "none" };
  return { kind: "call", name: called, argumentsAt: end - 1 };
}

function readParts(text: string, from: number, parts: readonly Part[]): number {
  let at = from;
  for (const part of parts) {
    at = part(text, at);
    if (at < 0) return at;
  }
  return at;
}
