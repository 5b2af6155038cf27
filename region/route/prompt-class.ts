// Prompts of about the same length: what one waits for and gets is like what the others do.

const SMALLEST_TOKENS = 32;
const CLASSES = 12;

/** 0 for the shortest; each class is up to twice as long as the one before. */
export function promptClass(promptTokens: number): number {
  const doublings = Math.ceil(Math.log2(Math.max(1, promptTokens / SMALLEST_TOKENS)));
  return Math.min(doublings, CLASSES - 1);
}
