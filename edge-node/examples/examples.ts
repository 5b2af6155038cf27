// All that an edge keeps to learn from, put together: the store on disk, the completions that are
// remembered for feedback, and how the learning reads it.
import { statSync } from "node:fs";
import type { Clock } from "../../runtime/clock.ts";
import type { FeedbackPort } from "../../runtime/frontend/feedback/feedback-port.ts";
import type { TrainedOn } from "../drift/drift-monitor.ts";
import {
  type KeptExamples,
  type PrivateData,
  type PrivateDataOf,
  readPrivateSplit,
} from "../learning/private-examples.ts";
import { openExampleDatabase } from "./example-database.ts";
import { ExampleStore } from "./example-store.ts";
import { createFeedbackDesk } from "./feedback-desk.ts";
import { FeedbackLedger, type VersionRatings } from "./feedback-ledger.ts";
import { RecentCompletions } from "./recent-completions.ts";

const RECENT_ENTRIES_MAX = 4096;
const RECENT_CHARS_MAX = 16 << 20;
/** Feedback that is remembered by id, lessons or not. */
const FEEDBACK_MAX = 100_000;
const PRUNE_EVERY_MS = 60_000;
const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
/** What reports call examples that no file names. */
const KEPT_NAME = "private";

export interface ExamplesOptions {
  readonly edge: string;
  readonly region: string;
  /** Folder of its own. */
  readonly dir: string;
  readonly bounds: {
    readonly entriesMax: number;
    readonly bytesMax: number;
    readonly ageDaysMax: number;
    readonly rememberMinutes: number;
  };
  /** By model: the files that the configuration names. */
  readonly files: Readonly<Record<string, PrivateData>>;
  readonly clock: Clock;
}

export interface Examples {
  readonly store: ExampleStore;
  readonly recent: RecentCompletions;
  readonly feedback: FeedbackPort;
  /** For the trainer and the evaluator of this edge. */
  readonly privateData: PrivateDataOf;
  /** For drift: what rounds have learned from, and the files. Null where there is nothing. */
  trainedOn(model: string): TrainedOn | null;
  /** How callers have rated each version here, ever since. */
  ratingsByVersion(): readonly VersionRatings[];
  stop(): void;
}

export function openExamples(options: ExamplesOptions): Examples {
  const { edge, region, dir, bounds, files, clock } = options;
  const ageMaxMs = bounds.ageDaysMax * DAY_MS;
  const db = openExampleDatabase(dir);
  const { entriesMax, bytesMax } = bounds;
  const store = new ExampleStore(db, { entriesMax, bytesMax, ageMaxMs }, clock);
  const ledger = new FeedbackLedger(db, store, { entriesMax: FEEDBACK_MAX, ageMaxMs }, clock);
  const recentBounds = {
    ...{ entriesMax: RECENT_ENTRIES_MAX, charsMax: RECENT_CHARS_MAX },
    ageMaxMs: bounds.rememberMinutes * MINUTE_MS,
  };
  const recent = new RecentCompletions(recentBounds, clock);
  const pruning = clock.every(PRUNE_EVERY_MS, () => {
    store.prune();
    ledger.prune();
  });
  const filesOf = (model: string) => (Object.hasOwn(files, model) ? files[model] : undefined);
  return {
    store,
    recent,
    feedback: createFeedbackDesk({ edge, region, ledger, recent }),
    privateData(model) {
      const filed = filesOf(model);
      if (filed === undefined && !store.has(model)) return undefined;
      return { name: KEPT_NAME, ...filed, kept: keptOf(store, model) };
    },
    trainedOn: (model) => trainedOn(store, model, filesOf(model)),
    ratingsByVersion: () => ledger.ratings(),
    stop() {
      pruning.cancel();
      db.close();
    },
  };
}

function keptOf(store: ExampleStore, model: string): KeptExamples {
  return {
    get revision() {
      return store.revision;
    },
    get newest() {
      return store.newest;
    },
    split: () => ({
      train: store.read(model, "training"),
      heldout: store.read(model, "evaluation"),
    }),
    learned: (newest) => store.markLearned(model, newest),
  };
}

function trainedOn(
  store: ExampleStore,
  model: string,
  files: PrivateData | undefined,
): TrainedOn | null {
  const learned = store.learnedMark(model);
  if (files?.train === undefined && learned === "") return null;
  const stat = files?.train && statSync(files.train, { throwIfNoEntry: false });
  return {
    revision: `${stat ? `${stat.mtimeMs} ${stat.size}` : ""} ${learned}`,
    prompts: () => [
      ...(stat && files ? readPrivateSplit(files).train : []).map(({ prompt }) => prompt),
      ...store.read(model, "training", "learned").map(({ prompt }) => prompt),
    ],
  };
}
