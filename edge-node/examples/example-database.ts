// The SQLite file in which an edge keeps what callers and its operator have taught it. What a call
// has written is on disk once it returns, whatever is killed then; what is deleted is overwritten.
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Fault } from "../../proto/fault.ts";
import { makeFolder } from "../../sync/delta/durable-file.ts";

const FILE = "examples.sqlite";
const OWNER_ONLY_FOLDER = 0o700;
/** Grows with every change of the tables. */
const SCHEMA_VERSION = 1;
/** A former process of this edge may still be ending. */
const LOCK_WAIT_MS = 5000;

const SCHEMA = `
  CREATE TABLE examples (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    model TEXT NOT NULL,
    source TEXT NOT NULL,
    prompt TEXT NOT NULL,
    completion TEXT NOT NULL,
    heldout INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    learned_ms INTEGER
  ) STRICT;
  CREATE INDEX examples_by_model ON examples (model, heldout, seq);
  CREATE TABLE feedback (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    model TEXT NOT NULL,
    version TEXT NOT NULL,
    lesson TEXT NOT NULL,
    rating REAL,
    given_ms INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE ratings (
    model TEXT NOT NULL,
    version TEXT NOT NULL,
    sum REAL NOT NULL,
    count INTEGER NOT NULL,
    rated_ms INTEGER NOT NULL,
    PRIMARY KEY (model, version)
  ) STRICT;
`;

/** Opens the file in a folder of its own, making both. Faults: `failed-precondition`. */
export function openExampleDatabase(dir: string): DatabaseSync {
  makeFolder(dir);
  chmodSync(dir, OWNER_ONLY_FOLDER);
  const db = new DatabaseSync(join(dir, FILE), { timeout: LOCK_WAIT_MS });
  db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON");
  const { user_version: found } = db.prepare("PRAGMA user_version").get() as {
    user_version: number;
  };
  if (found > SCHEMA_VERSION) {
    db.close();
    throw new Fault("failed-precondition", `${FILE} was written by a newer version of this edge`);
  }
  if (found === 0) {
    inTransaction(db, () => db.exec(`${SCHEMA} PRAGMA user_version = ${SCHEMA_VERSION}`));
  }
  return db;
}

/** All of it or, when it throws, nothing. */
export function inTransaction<T>(db: DatabaseSync, work: () => T): T {
  db.exec("BEGIN IMMEDIATE");
  try {
    const result = work();
    db.exec("COMMIT");
    return result;
  } catch (thrown) {
    db.exec("ROLLBACK");
    throw thrown;
  }
}

/** Takes what was deleted out of the write-ahead log too. */
export function forgetDeleted(db: DatabaseSync): void {
  db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
}
