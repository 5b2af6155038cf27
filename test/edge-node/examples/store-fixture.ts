// What tests of kept examples share: a store in a folder of its own, and examples for it.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import { openExampleDatabase } from "../../../edge-node/examples/example-database.ts";
import {
  type ExampleBounds,
  ExampleStore,
  type NewExample,
} from "../../../edge-node/examples/example-store.ts";
import { FeedbackLedger } from "../../../edge-node/examples/feedback-ledger.ts";
import { ManualClock } from "../../support/manual-clock.ts";

export const DAY_MS = 24 * 3600 * 1000;
const roomy: ExampleBounds = { entriesMax: 1000, bytesMax: 1 << 20, ageMaxMs: 30 * DAY_MS };

export function exampleOf(n: number, model = "m"): NewExample {
  return {
    id: `id-${n}`,
    model,
    source: "import",
    prompt: `prompt number ${n}`,
    completion: `completion number ${n}`,
  };
}

export const examplesOf = (count: number, model = "m") =>
  Array.from({ length: count }, (_, n) => exampleOf(n, model));

/** A folder that goes when the test ends. */
export function folderFor(t: ExecutionContext): string {
  const dir = mkdtempSync(join(tmpdir(), "isthmus-examples-"));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** Opens the store in `dir`, as a process of the edge would. */
export function openStore(dir: string, clock = new ManualClock(), bounds?: Partial<ExampleBounds>) {
  const all = { ...roomy, ...bounds };
  const db = openExampleDatabase(dir);
  const store = new ExampleStore(db, all, clock);
  const ledger = new FeedbackLedger(db, store, all, clock);
  return { store, ledger, close: () => db.close() };
}

/** Every byte of every file in the folder. */
export function bytesIn(dir: string): Buffer {
  return Buffer.concat(readdirSync(dir).map((name) => readFileSync(join(dir, name))));
}
