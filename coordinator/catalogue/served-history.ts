// Which version of a model is served, which one is tried, and which one a rollback returns to.
// Pure.
import type { ModelRecord, ServedReason } from "./model-record.ts";

/** Changes remembered for each model. */
export const HISTORY_MAX = 100;

/** The record once another version is served by everybody; a trial ends with that. */
export function withServed(
  record: ModelRecord,
  version: string,
  why: ServedReason,
  atMs: number,
): ModelRecord {
  if (record.served === version) return withTrial(record, null);
  return {
    ...record,
    served: version,
    trial: null,
    changes: record.changes + 1,
    history: [...record.history, { version, atMs, why }].slice(-HISTORY_MAX),
  };
}

/** The record once these edges try another version than the served one; null ends the trial. */
export function withTrial(record: ModelRecord, trial: ModelRecord["trial"]): ModelRecord {
  if (JSON.stringify(record.trial) === JSON.stringify(trial)) return record;
  return { ...record, trial, changes: record.changes + 1 };
}

/**
 * The version served before the present one; undefined when there is none. Rolled back twice, a
 * model goes two versions back: a rollback undoes a change, it doesn't add one to be undone.
 */
export function rollbackTarget(record: ModelRecord): string | undefined {
  const served: string[] = [];
  for (const { version, why } of record.history) {
    if (why === "rollback") served.pop();
    else served.push(version);
    if (served.at(-1) !== version && why === "rollback") served.push(version);
  }
  return served.at(-2);
}

/** Numbers what should be served: grows with every change of any model. */
export function desiredRevision(models: readonly ModelRecord[]): bigint {
  return models.reduce((sum, { changes }) => sum + BigInt(changes), 0n);
}
