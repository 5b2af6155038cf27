// Masks: the keystream of a secret seed, as numbers of the ring.
import { type RandomBytes, seededBytes } from "../../runtime/random.ts";

/** Words made at once, so that a mask takes no memory of its own. */
const BLOCK_WORDS = 1 << 16;
const WORD_BYTES = 4;

/** words += mask of the seed (or −= it), in the ring. */
export function addMask(words: Uint32Array, seed: Uint8Array, sign: 1 | -1): void {
  const stream: RandomBytes = seededBytes(seed);
  for (let first = 0; first < words.length; first += BLOCK_WORDS) {
    const count = Math.min(BLOCK_WORDS, words.length - first);
    const bytes = stream(count * WORD_BYTES);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let i = 0; i < count; i++) {
      words[first + i]! += sign * view.getUint32(i * WORD_BYTES, true);
    }
  }
}

/** Little-endian, four bytes each: how a masked delta travels. */
export function bytesOfWords(words: Uint32Array): Uint8Array {
  const bytes = new Uint8Array(words.length * WORD_BYTES);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < words.length; i++) view.setUint32(i * WORD_BYTES, words[i]!, true);
  return bytes;
}

export function wordsOfBytes(bytes: Uint8Array): Uint32Array {
  const words = new Uint32Array(Math.floor(bytes.length / WORD_BYTES));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let i = 0; i < words.length; i++) words[i] = view.getUint32(i * WORD_BYTES, true);
  return words;
}
