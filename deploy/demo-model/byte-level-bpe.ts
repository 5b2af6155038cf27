// Byte-level BPE as GPT-2 and llama.cpp do it: learns merges from text, and tokenizes with them.

/** GPT-2's split into words, numbers and the rest, each with the space in front of it. */
const PIECES = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** GPT-2's printable stand-in for every byte, indexed by the byte. */
export const BYTE_SYMBOLS: readonly string[] = byteSymbols();

/** Text to token ids. */
export interface Tokenizer {
  /** Every token in order of its id. */
  readonly tokens: readonly string[];
  encode(text: string): number[];
}

/** Learns up to `count` merges ("a b"), the most frequent pair first, ties in code-point order. */
export function learnMerges(texts: readonly string[], count: number): string[] {
  const pieceCounts = new Map<string, number>();
  for (const text of texts) {
    for (const piece of text.match(PIECES) ?? []) {
      pieceCounts.set(piece, (pieceCounts.get(piece) ?? 0) + 1);
    }
  }
  const words = [...pieceCounts].map(([piece, n]) => ({ symbols: toSymbols(piece), n }));
  const merges: string[] = [];
  while (merges.length < count) {
    const best = mostFrequentPair(words);
    if (best === undefined) break;
    merges.push(best);
    const [left = "", right = ""] = best.split(" ");
    for (const word of words) word.symbols = joinPair(word.symbols, left, right);
  }
  return merges;
}

/** A tokenizer with `special` tokens first, then the 256 bytes, then one token a merge. */
export function createTokenizer(special: readonly string[], merges: readonly string[]): Tokenizer {
  const bytes = [...BYTE_SYMBOLS];
  const tokens = [
    ...new Set([...special, ...bytes, ...merges.map((merge) => merge.replace(" ", ""))]),
  ];
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const ranks = new Map(merges.map((merge, rank) => [merge, rank]));
  return {
    tokens,
    encode: (text) =>
      (text.match(PIECES) ?? []).flatMap((piece) =>
        mergePiece(toSymbols(piece), ranks).map((symbol) => ids.get(symbol) as number),
      ),
  };
}

function mostFrequentPair(words: readonly { symbols: string[]; n: number }[]) {
  const counts = new Map<string, number>();
  for (const { symbols, n } of words) {
    for (let i = 0; i + 1 < symbols.length; i++) {
      const pair = `${symbols[i]} ${symbols[i + 1]}`;
      counts.set(pair, (counts.get(pair) ?? 0) + n);
    }
  }
  let best: string | undefined;
  let bestCount = 1;
  for (const [pair, n] of counts) {
    if (n > bestCount || (n === bestCount && best !== undefined && pair < best)) {
      best = pair;
      bestCount = n;
    }
  }
  return best;
}

function joinPair(symbols: readonly string[], left: string, right: string): string[] {
  const joined: string[] = [];
  for (let i = 0; i < symbols.length; i++) {
    if (symbols[i] === left && symbols[i + 1] === right) {
      joined.push(left + right);
      i++;
    } else {
      joined.push(symbols[i] as string);
    }
  }
  return joined;
}

/** Applies the merge of the lowest rank, again and again, until none applies. */
function mergePiece(symbols: string[], ranks: ReadonlyMap<string, number>): string[] {
  for (;;) {
    let lowest = Number.POSITIVE_INFINITY;
    let at = -1;
    for (let i = 0; i + 1 < symbols.length; i++) {
      const rank = ranks.get(`${symbols[i]} ${symbols[i + 1]}`);
      if (rank !== undefined && rank < lowest) {
        lowest = rank;
        at = i;
      }
    }
    if (at < 0) return symbols;
    symbols.splice(at, 2, `${symbols[at]}${symbols[at + 1]}`);
  }
}

function toSymbols(piece: string): string[] {
  return [...Buffer.from(piece, "utf8")].map((byte) => BYTE_SYMBOLS[byte] as string);
}

/** Printable bytes stand for themselves; the others for code points from 256 on. */
function byteSymbols(): string[] {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    return String.fromCodePoint(printable ? byte : next++);
  });
}
