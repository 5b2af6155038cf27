// Where a region keeps its desired state: in a file of its own, durable before anybody is told, and
// in the KV of its own NATS domain, so that it also survives the loss of the region's disk.
import { mkdir, open, readFile, rename } from "node:fs/promises";
import { dirname } from "node:path";
import type { KV } from "@nats-io/kv";
import type { DesiredState } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { Log } from "../../runtime/log.ts";
import type { NatsLink } from "../../runtime/nats/connection.ts";
import { desiredFromText, desiredToText, newer } from "./desired-state.ts";

export const DESIRED_BUCKET = "isthmus_desired";
const KEY = "state";

export interface DesiredVaultOptions {
  readonly path: string;
  /** What this process writes aside first, where others have the same file. */
  readonly aside?: string;
  readonly nats: Pick<NatsLink, "kv">;
  readonly domain: string;
  readonly log: Log;
}

export class DesiredVault {
  readonly #options: DesiredVaultOptions;
  #bucket: KV | null = null;
  /** Revision that the KV is known to hold. */
  #storedRevision = 0n;

  constructor(options: DesiredVaultOptions) {
    this.#options = options;
  }

  /** What the file holds; null when there is none or it can't be read. */
  async readFile(): Promise<DesiredState | null> {
    const { path, log } = this.#options;
    try {
      return desiredFromText(await readFile(path, "utf8"));
    } catch (thrown) {
      const absent = thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT";
      if (!absent) log.warn({ err: thrown, path }, "the kept desired state can't be read");
      return null;
    }
  }

  /** Durable once it resolves: written aside, flushed, renamed, and the folder flushed. */
  async writeFile(desired: DesiredState): Promise<void> {
    const { path, aside = `${path}.new` } = this.#options;
    await mkdir(dirname(path), { recursive: true });
    const file = await open(aside, "w");
    try {
      await file.writeFile(desiredToText(desired));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(aside, path);
    const folder = await open(dirname(path));
    await folder.sync().finally(() => folder.close());
  }

  /**
   * Brings KV and region together: writes the newer of the two there and returns it.
   * Faults: rejects while JetStream isn't there; call again later.
   */
  async exchange(held: DesiredState | null): Promise<DesiredState | null> {
    if (held !== null && held.revision === this.#storedRevision) return held;
    this.#bucket ??= await this.#openBucket();
    const entry = await this.#bucket.get(KEY);
    const stored = entry === null ? null : this.#parse(entry.string());
    this.#storedRevision = stored?.revision ?? 0n;
    if (held === null) return stored;
    const newest = stored === null ? held : newer(held, stored);
    if (newest !== stored) {
      await this.#bucket.put(KEY, desiredToText(newest));
      this.#storedRevision = newest.revision;
    }
    return newest;
  }

  async #openBucket(): Promise<KV> {
    const { nats, domain } = this.#options;
    return nats.kv(domain, DESIRED_BUCKET, { history: 1 });
  }

  #parse(text: string): DesiredState | null {
    try {
      return desiredFromText(text);
    } catch (thrown) {
      this.#options.log.warn({ err: thrown }, "the desired state in KV can't be read");
      return null;
    }
  }
}
