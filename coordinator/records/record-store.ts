// Keyed records with optimistic concurrency: durable in the coordinator's own log before a write is
// answered, and carried from there into a JetStream KV bucket, where they outlive its disk.
import { Fault } from "../../proto/fault.ts";
import { RecordLog, type StoredRecord } from "./record-log.ts";

export type RecordListener = (record: StoredRecord) => void;

export class RecordStore {
  readonly #log: RecordLog;
  readonly #listeners = new Set<RecordListener>();

  constructor(path: string) {
    this.#log = new RecordLog(path);
  }

  /** Whether nothing has ever been written or adopted. */
  get isEmpty(): boolean {
    return this.#log.records.size === 0;
  }

  get(key: string): StoredRecord | undefined {
    return this.#log.records.get(key);
  }

  /** Records whose keys start so, in the order of their keys. */
  list(prefix = ""): readonly StoredRecord[] {
    return [...this.#log.records.values()]
      .filter(({ key }) => key.startsWith(prefix))
      .sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  /**
   * Writes a record over the revision that the writer has seen (0: none). Durable on return.
   * Faults: `conflict` when somebody has written since.
   */
  put(key: string, value: StoredRecord["value"], expectedRevision: number): StoredRecord {
    const revision = this.get(key)?.revision ?? 0;
    if (revision !== expectedRevision) {
      throw new Fault(
        "conflict",
        `${key} is at revision ${revision}, not ${expectedRevision}: read it again`,
      );
    }
    return this.#write({ key, revision: revision + 1, value });
  }

  /** Takes over what the bucket has, if it is newer. Returns whether it was. */
  adopt(record: StoredRecord): boolean {
    if (record.revision <= (this.get(record.key)?.revision ?? 0)) return false;
    this.#write(record);
    return true;
  }

  /** Calls for every write from now on, after it is durable. */
  onWrite(listener: RecordListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  close(): void {
    this.#log.close();
  }

  #write(record: StoredRecord): StoredRecord {
    this.#log.append(record);
    for (const listener of this.#listeners) listener(record);
    return record;
  }
}
