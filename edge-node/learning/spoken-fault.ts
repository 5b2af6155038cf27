// What an edge may say about a failure, aloud or in its log, without quoting an example.
import { Fault } from "../../proto/fault.ts";

const LENGTH_MAX = 200;

/**
 * A Fault's own words, which never hold an example. A library's might, and so might the output of
 * a crashed child, so that of an unknown failure only its kind is told.
 */
export function wordsOf(thrown: unknown): string {
  if (thrown instanceof Fault && thrown.code !== "internal") {
    return thrown.message.slice(0, LENGTH_MAX);
  }
  const kind = thrown instanceof Error ? thrown.name : typeof thrown;
  return `an unexpected failure (${kind})`;
}
