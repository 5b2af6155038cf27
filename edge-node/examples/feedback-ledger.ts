// What callers have said of completions, and how each version was rated. The ratings of a version
// are a sum and a count: they tell nothing of any completion, and outlive the feedback behind them.
import type { DatabaseSync } from "node:sqlite";
import type { Clock } from "../../runtime/clock.ts";
import { forgetDeleted, inTransaction } from "./example-database.ts";
import type { ExampleStore, NewExample } from "./example-store.ts";

export interface FeedbackRecord {
  /** The completion's, with its choice. */
  readonly id: string;
  readonly model: string;
  readonly version: string;
  readonly lesson: "" | "correction" | "accepted";
  readonly rating: number | null;
  readonly givenMs: number;
}

/** Ratings from -1 to 1 of one version: their sum, and how many. */
export interface VersionRatings {
  readonly model: string;
  readonly version: string;
  readonly sum: number;
  readonly count: number;
}

export interface FeedbackBounds {
  readonly entriesMax: number;
  readonly ageMaxMs: number;
}

/** Versions whose ratings are remembered, newest first. */
const VERSIONS_MAX = 256;

type Row = Record<string, unknown>;

export class FeedbackLedger {
  readonly #db: DatabaseSync;
  readonly #examples: ExampleStore;
  readonly #bounds: FeedbackBounds;
  readonly #clock: Clock;
  /** Asked for with every heartbeat. */
  #ratings: readonly VersionRatings[] | null = null;

  constructor(db: DatabaseSync, examples: ExampleStore, bounds: FeedbackBounds, clock: Clock) {
    this.#db = db;
    this.#examples = examples;
    this.#bounds = bounds;
    this.#clock = clock;
    this.prune();
  }

  /**
   * Keeps it, with the example that it teaches, durably and both at once. Replaces what was said of
   * the same completion; a rating that was given stays where the new one gives none.
   */
  put(said: Omit<FeedbackRecord, "givenMs">, example: NewExample | null): FeedbackRecord {
    const known = this.get(said.id);
    const record: FeedbackRecord = {
      ...said,
      lesson: said.lesson || (known?.lesson ?? ""),
      rating: said.rating ?? known?.rating ?? null,
      givenMs: this.#clock.now(),
    };
    inTransaction(this.#db, () => {
      if (example !== null) this.#examples.putWithin([example]);
      const { id, model, version, lesson, rating, givenMs } = record;
      this.#db
        .prepare(
          `INSERT OR REPLACE INTO feedback (id, model, version, lesson, rating, given_ms)
           VALUES (?, ?, ?, ?, ?, ?)`,
        )
        .run(id, model, version, lesson, rating, givenMs);
      if (said.rating !== null) this.#rate(record, said.rating, known?.rating ?? null);
    });
    this.#ratings = null;
    if (example !== null) this.#examples.prune();
    this.prune();
    return record;
  }

  get(id: string): FeedbackRecord | undefined {
    const row = this.#db.prepare("SELECT * FROM feedback WHERE id = ?").get(id) as Row | undefined;
    if (row === undefined) return undefined;
    return {
      id: String(row.id),
      model: String(row.model),
      version: String(row.version),
      lesson: row.lesson as FeedbackRecord["lesson"],
      rating: row.rating === null ? null : Number(row.rating),
      givenMs: Number(row.given_ms),
    };
  }

  /** Forgets it and what it taught; false when there is none. The versions stay rated. */
  remove(id: string): boolean {
    const { changes } = this.#db.prepare("DELETE FROM feedback WHERE id = ?").run(id);
    const taught = this.#examples.remove(id);
    if (changes > 0 && !taught) forgetDeleted(this.#db);
    return changes > 0 || taught;
  }

  /** How callers of this edge have rated each version, most recently rated first. */
  ratings(): readonly VersionRatings[] {
    this.#ratings ??= (
      this.#db
        .prepare("SELECT model, version, sum, count FROM ratings ORDER BY rated_ms DESC")
        .all() as Row[]
    ).map((row) => ({
      model: String(row.model),
      version: String(row.version),
      sum: Number(row.sum),
      count: Number(row.count),
    }));
    return this.#ratings;
  }

  prune(): void {
    const { ageMaxMs, entriesMax } = this.#bounds;
    this.#db.prepare("DELETE FROM feedback WHERE given_ms < ?").run(this.#clock.now() - ageMaxMs);
    this.#db
      .prepare(
        `DELETE FROM feedback WHERE seq <=
           (SELECT seq FROM feedback ORDER BY seq DESC LIMIT 1 OFFSET ?)`,
      )
      .run(entriesMax);
  }

  #rate({ model, version, givenMs }: FeedbackRecord, rating: number, before: number | null): void {
    this.#db
      .prepare(
        `INSERT INTO ratings (model, version, sum, count, rated_ms) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (model, version) DO UPDATE SET
           sum = sum + ?3, count = count + ?4, rated_ms = ?5`,
      )
      .run(model, version, rating - (before ?? 0), before === null ? 1 : 0, givenMs);
    this.#db
      .prepare(
        `DELETE FROM ratings WHERE rated_ms <
           (SELECT rated_ms FROM ratings ORDER BY rated_ms DESC LIMIT 1 OFFSET ?)`,
      )
      .run(VERSIONS_MAX - 1);
  }
}
