// The bytes that each token of a vocabulary stands for. Whole texts are put together from them,
// since a token may end in the middle of a character.
import type { LlamaModel, Token } from "node-llama-cpp";

/** GPT-2's mapping of bytes to printable characters, turned around. */
const byteOfCharacter = buildByteMap();
const NOTHING = new Uint8Array(0);
const BYTE_TOKEN = /^<0x([0-9A-Fa-f]{2})>$/;
const REPLACEMENT = "\uFFFD";
const WORD_START = /\u2581/g;

export interface TokenPieces {
  pieceOf(id: number): Uint8Array;
}

/** Looks each token up once and remembers its bytes. */
export function createTokenPieces(model: LlamaModel): TokenPieces {
  const known: (Uint8Array | undefined)[] = [];
  const texts = model.fileInfo.metadata.tokenizer?.ggml?.tokens ?? [];
  const anchor = model.tokenize("a").at(-1) ?? null;
  function lookUp(id: number): Uint8Array {
    const token = id as Token;
    const attributes = model.getTokenAttributes(token);
    if (attributes.control || attributes.unknown) return NOTHING;
    const text = texts[id] ?? "";
    if (attributes.userDefined) return Buffer.from(text);
    const byte = BYTE_TOKEN.exec(text);
    if (byte !== null && attributes.byte) return Uint8Array.of(Number.parseInt(byte[1]!, 16));
    if (model.vocabularyType === "bpe") return byteLevelPiece(text) ?? askModel(token, text);
    return Buffer.from(text.replace(WORD_START, " "));
  }
  /** The model's own detokenizer, behind another token so that a leading space survives. */
  function askModel(token: Token, text: string): Uint8Array {
    if (anchor === null) return Buffer.from(model.detokenize([token]));
    const before = model.detokenize([anchor]);
    const both = model.detokenize([anchor, token]);
    if (!both.startsWith(before) || both.includes(REPLACEMENT)) return Buffer.from(text);
    return Buffer.from(both.slice(before.length));
  }
  return {
    pieceOf(id) {
      const found = known[id];
      if (found !== undefined) return found;
      const piece = lookUp(id);
      known[id] = piece;
      return piece;
    },
  };
}

/** Returns null when a character isn't of the byte alphabet. */
function byteLevelPiece(text: string): Uint8Array | null {
  const bytes: number[] = [];
  for (const character of text) {
    const byte = byteOfCharacter.get(character);
    if (byte === undefined) return null;
    bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}

/** Source: bytes_to_unicode of GPT-2's encoder. */
function buildByteMap(): Map<string, number> {
  const map = new Map<string, number>();
  let shifted = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable =
      (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
    map.set(String.fromCodePoint(printable ? byte : shifted), byte);
    if (!printable) shifted++;
  }
  return map;
}
