// Which version of a model is served, and which one a rollback returns to. Pure.
import type { ModelRecord, ServedReason } from "./model-record.ts";

/** Changes remembered for each model. */
export const HISTORY_MAX = 100;

/** The record once another version is served. */
export function withServed(
  record: ModelRecord,
  version: string,
  why: ServedReason,
  atMs: number,
): ModelRecord {
  if (record.served === version) return record;
  return {
    ...record,
    served: version,
    changes: record.changes + 1,
    history: [...record.history, { version, atMs, why }].slice(-HISTORY_MAX),
  };
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
