// Which edges of a model are out for how they fared: after faults in a row, or when they answer far
// later than predicted while their peers don't. Never more than half of those that could serve.
import type { Lane } from "./lane.ts";
import type { ModelColumns } from "./model-columns.ts";

/** First tokens this many times later than those of the median peer, against the prediction, ... */
const SLOW_FACTOR = 4;
/** ... and at least this much later than predicted, take an edge out. */
const SLOW_MIN_MS = 250;
/** Peers needed to say what is usual. */
const PEERS_MIN = 2;

const logSlow = Math.log(SLOW_FACTOR);

/** Takes the lane out if the bound allows it. True when it did. */
export function eject(columns: ModelColumns, lane: Lane, nowMs: number): boolean {
  const isOutAlready = columns.ejected.includes(lane);
  let serving = 0;
  let out = 1;
  for (const other of columns.lanes) {
    if (!couldServe(other)) continue;
    serving += 1;
    if (other !== lane && other.record.phase !== "in") out += 1;
  }
  if (out > serving / 2 && !isOutAlready) return false;
  lane.record.eject(nowMs);
  if (!isOutAlready) columns.ejected.push(lane);
  return true;
}

/** Lets those back on trial whose hold-down is over. Returns them. */
export function release(columns: ModelColumns, nowMs: number): Lane[] {
  const due = columns.ejected.filter(
    ({ record }) => record.phase === "out" && record.untilMs <= nowMs,
  );
  for (const { record } of due) record.release();
  return due;
}

/** Lets everybody back on trial: an edge in doubt is better than none. */
export function releaseAll(columns: ModelColumns): Lane[] {
  const out = columns.ejected.filter(({ record }) => record.phase === "out");
  for (const { record } of out) record.release();
  return out;
}

/** While more than half are out, for others have gone, lets back those that were out longest. */
export function rebalance(columns: ModelColumns): Lane[] {
  const out = columns.ejected.filter((lane) => lane.record.isOut && couldServe(lane));
  const serving = columns.lanes.filter(couldServe).length;
  const tooMany = out.slice(0, Math.max(0, out.length - Math.floor(serving / 2)));
  for (const { record } of tooMany) record.release();
  return tooMany;
}

/** Forgets that a lane was out, once its trial went well. */
export function readmit(columns: ModelColumns, lane: Lane): void {
  lane.record.readmit();
  const at = columns.ejected.indexOf(lane);
  if (at >= 0) columns.ejected.splice(at, 1);
}

/** Whether an answer was late beyond anything that predictions and peers explain. */
export function isSlow(
  columns: ModelColumns,
  lane: Lane,
  measured: { readonly ttftMs: number; readonly predictedMs: number; readonly isProbe: boolean },
): boolean {
  if (measured.ttftMs - measured.predictedMs < SLOW_MIN_MS) return false;
  // On trial a single answer tells enough.
  const slowness = lane.record.slowness(measured.isProbe ? 1 : undefined);
  if (slowness === null || slowness < logSlow) return false;
  const peers: number[] = [];
  for (const other of columns.lanes) {
    const theirs = other === lane ? null : other.record.slowness();
    if (theirs !== null) peers.push(theirs);
  }
  if (peers.length < PEERS_MIN) return false;
  peers.sort((a, b) => a - b);
  return slowness - peers[peers.length >>> 1]! > logSlow;
}

function couldServe({ edge, isServable }: Lane): boolean {
  return edge.status === "ready" && isServable;
}
