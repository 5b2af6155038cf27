// Which examples are kept apart for evaluation. By the prompt alone, so that it is the same on
// every reading, and two completions of one prompt are never on both sides.
import { createHash } from "node:crypto";

/** One in this many is held out. */
const HELDOUT_ONE_IN = 5;

export function isHeldOut({ prompt }: { readonly prompt: string }): boolean {
  return createHash("sha256").update(prompt).digest().readUInt32LE(0) % HELDOUT_ONE_IN === 0;
}
