// Decides from a command alone whose it is, so that splits are disjoint whoever makes them.

/** Of each domain's commands, these shares of ten are kept from every training. */
const HELD_OUT_BUCKETS = 2;
const BUCKETS = 10;

/** The edges of one region that can have examples of their own. */
export const EDGES_PER_DIALECT_MAX = BUCKETS - HELD_OUT_BUCKETS;

/** Whether a command belongs to the evaluation set of its domain, and to no training set. */
export function isHeldOut(prompt: string): boolean {
  return bucketOf(prompt) < HELD_OUT_BUCKETS;
}

/** Whether a command belongs to this edge of its dialect's region. */
export function belongsToEdge(prompt: string, edgeIndex: number): boolean {
  return bucketOf(prompt) === HELD_OUT_BUCKETS + edgeIndex;
}

/** FNV-1a over the UTF-16 code units, mixed once more because its low bits are weak. */
function bucketOf(prompt: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < prompt.length; i++) {
    hash = Math.imul(hash ^ prompt.charCodeAt(i), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return ((hash ^ (hash >>> 13)) >>> 0) % BUCKETS;
}
