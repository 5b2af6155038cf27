// The examples that an edge has been given by feedback and by import, within bounds of number, size
// and age: the oldest go first. A fixed part of them is never trained on.
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Clock } from "../../runtime/clock.ts";
import type { TrainingExample } from "../training/example-file.ts";
import { isHeldOut } from "./evaluation-split.ts";
import { forgetDeleted, inTransaction } from "./example-database.ts";

/** How an example came here. */
export type ExampleSource = "correction" | "accepted" | "import";

export interface NewExample extends TrainingExample {
  readonly id: string;
  readonly model: string;
  readonly source: ExampleSource;
}

/** What may be told of an example; its texts never are. */
export interface ExampleNote {
  readonly id: string;
  readonly model: string;
  readonly source: ExampleSource;
  /** Whether it is trained on, or proves what was trained. */
  readonly split: "training" | "evaluation";
  readonly bytes: number;
  readonly createdMs: number;
  /** Null until a round has learned from it. */
  readonly learnedMs: number | null;
}

export interface ExampleBounds {
  readonly entriesMax: number;
  /** Of prompts and completions in UTF-8. */
  readonly bytesMax: number;
  readonly ageMaxMs: number;
}

export interface ListQuery {
  readonly model?: string | undefined;
  /** Newest first; those older than this id. */
  readonly before?: string | undefined;
  readonly limit: number;
}

type Row = Record<string, unknown>;

export class ExampleStore {
  readonly #db: DatabaseSync;
  readonly #bounds: ExampleBounds;
  readonly #clock: Clock;
  readonly #insert: StatementSync;
  #entries = 0;
  #bytes = 0;
  #revision = 0;

  constructor(db: DatabaseSync, bounds: ExampleBounds, clock: Clock) {
    this.#db = db;
    this.#bounds = bounds;
    this.#clock = clock;
    this.#insert = db.prepare(
      `INSERT OR REPLACE INTO examples
         (id, model, source, prompt, completion, heldout, bytes, created_ms)
       SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
       WHERE NOT EXISTS
         (SELECT 1 FROM examples WHERE id = ?1 AND prompt = ?4 AND completion = ?5)`,
    );
    this.prune();
  }

  /** Changes whenever the examples do. */
  get revision(): number {
    return this.#revision;
  }

  get entries(): number {
    return this.#entries;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Keeps all of them, durably; one of a known id takes its place. Returns how many are new. */
  put(examples: readonly NewExample[]): number {
    const added = inTransaction(this.#db, () => this.putWithin(examples));
    this.prune();
    return added;
  }

  /** As `put`, in a transaction that the caller has begun and after which it prunes. */
  putWithin(examples: readonly NewExample[]): number {
    const nowMs = this.#clock.now();
    let added = 0;
    for (const { id, model, source, prompt, completion } of examples) {
      const bytes = Buffer.byteLength(prompt) + Buffer.byteLength(completion);
      const split = isHeldOut({ prompt }) ? 1 : 0;
      const { changes } = this.#insert.run(
        ...[id, model, source, prompt, completion],
        ...[split, bytes, nowMs],
      );
      added += Number(changes);
    }
    return added;
  }

  /** False when there is none. */
  remove(id: string): boolean {
    const { changes } = this.#db.prepare("DELETE FROM examples WHERE id = ?").run(id);
    if (changes === 0) return false;
    this.#count();
    forgetDeleted(this.#db);
    return true;
  }

  /** Forgets what is too old, then the oldest of what is too much. Returns how many went. */
  prune(): number {
    const oldestMs = this.#clock.now() - this.#bounds.ageMaxMs;
    let gone = Number(
      this.#db.prepare("DELETE FROM examples WHERE created_ms < ?").run(oldestMs).changes,
    );
    this.#count();
    if (this.#entries > this.#bounds.entriesMax || this.#bytes > this.#bounds.bytesMax) {
      gone += this.#evict();
      this.#count();
    }
    if (gone > 0) forgetDeleted(this.#db);
    return gone;
  }

  /** The texts, for this edge's own trainer and evaluator. `learned`: what a round has used. */
  read(model: string, part: "training" | "evaluation", only?: "learned"): TrainingExample[] {
    const rows = this.#db
      .prepare(
        `SELECT prompt, completion FROM examples
         WHERE model = ? AND heldout = ? AND (learned_ms IS NOT NULL OR ?) ORDER BY seq`,
      )
      .all(model, part === "evaluation" ? 1 : 0, only === "learned" ? 0 : 1) as Row[];
    return rows.map((row) => ({
      prompt: String(row.prompt),
      completion: String(row.completion),
    }));
  }

  /** Whether there is anything for the model. */
  has(model: string): boolean {
    return (
      this.#db.prepare("SELECT 1 FROM examples WHERE model = ? LIMIT 1").get(model) !== undefined
    );
  }

  /** Number of the newest example there ever was; one that changes gets a new number. */
  get newest(): number {
    const row = this.#db.prepare("SELECT seq FROM sqlite_sequence WHERE name = 'examples'").get();
    return Number(row?.seq ?? 0);
  }

  /** A round has learned from those up to this number. */
  markLearned(model: string, newest: number): void {
    this.#db
      .prepare(
        `UPDATE examples SET learned_ms = ?
         WHERE model = ? AND heldout = 0 AND learned_ms IS NULL AND seq <= ?`,
      )
      .run(this.#clock.now(), model, newest);
  }

  /** Changes whenever a round has learned from something; empty while none has. */
  learnedMark(model: string): string {
    const row = this.#db
      .prepare(
        `SELECT count(*) AS n, max(learned_ms) AS at FROM examples
         WHERE model = ? AND heldout = 0 AND learned_ms IS NOT NULL`,
      )
      .get(model);
    return Number(row?.n) === 0 ? "" : `${row?.n} ${row?.at}`;
  }

  list({ model, before, limit }: ListQuery): ExampleNote[] {
    const rows = this.#db
      .prepare(
        `SELECT id, model, source, heldout, bytes, created_ms, learned_ms FROM examples
         WHERE (?1 IS NULL OR model = ?1)
           AND (?2 IS NULL OR seq < (SELECT seq FROM examples WHERE id = ?2))
         ORDER BY seq DESC LIMIT ?3`,
      )
      .all(model ?? null, before ?? null, limit) as Row[];
    return rows.map(noteOf);
  }

  #evict(): number {
    const { entriesMax, bytesMax } = this.#bounds;
    const { changes } = this.#db
      .prepare(
        `DELETE FROM examples WHERE seq IN (
           SELECT seq FROM (
             SELECT seq, row_number() OVER newest AS place, sum(bytes) OVER newest AS held
             FROM examples WINDOW newest AS (ORDER BY seq DESC)
           ) WHERE place > ? OR held > ?)`,
      )
      .run(entriesMax, bytesMax);
    return Number(changes);
  }

  #count(): void {
    const row = this.#db.prepare("SELECT count(*) AS n, total(bytes) AS b FROM examples").get() as {
      n: number;
      b: number;
    };
    this.#entries = row.n;
    this.#bytes = row.b;
    this.#revision += 1;
  }
}

function noteOf(row: Row): ExampleNote {
  return {
    id: String(row.id),
    model: String(row.model),
    source: row.source as ExampleSource,
    split: row.heldout === 1 ? "evaluation" : "training",
    bytes: Number(row.bytes),
    createdMs: Number(row.created_ms),
    learnedMs: row.learned_ms === null ? null : Number(row.learned_ms),
  };
}
