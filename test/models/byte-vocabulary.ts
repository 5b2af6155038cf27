// The vocabulary of the test models: every byte, a few merged words, and the special tokens of a
// chat template. The id of a byte's token is the byte.

export const bosToken = 256;
export const eosToken = 257;
export const messageStart = 258;
export const messageEnd = 259;
const words = [" the", " and", "ing", "tion", " model", '": "'];
const specials = ["<|bos|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"];

export const chatTemplate =
  "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n" +
  "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

export interface ByteVocabulary {
  readonly tokens: readonly string[];
  readonly types: readonly number[];
  readonly merges: readonly string[];
}

const NORMAL = 1;
const CONTROL = 3;

export function byteVocabulary(): ByteVocabulary {
  const characters = byteCharacters();
  const tokens = [...characters, ...specials];
  const merges: string[] = [];
  for (const word of words) {
    const pieces = [...Buffer.from(word)].map((byte) => characters[byte]!);
    let merged = pieces[0]!;
    for (const piece of pieces.slice(1)) {
      const next = merged + piece;
      if (!tokens.includes(next)) {
        merges.push(`${merged} ${piece}`);
        tokens.push(next);
      }
      merged = next;
    }
  }
  const types = tokens.map((token) => (specials.includes(token) ? CONTROL : NORMAL));
  return { tokens, types, merges };
}

/** Source: bytes_to_unicode of GPT-2's encoder. */
function byteCharacters(): string[] {
  let shifted = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable =
      (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
    return String.fromCodePoint(printable ? byte : shifted++);
  });
}

/** The text that ids of this vocabulary stand for, put together from their bytes. */
export function decodeIds(ids: readonly number[]): string {
  const { tokens, types } = byteVocabulary();
  const byteOf = new Map(byteCharacters().map((character, byte) => [character, byte]));
  const bytes = ids.flatMap((id) => {
    if (types[id] !== NORMAL) return [];
    return [...tokens[id]!].map((character) => byteOf.get(character)!);
  });
  return Buffer.from(bytes).toString("utf8");
}
