// Files named by their SHA-256 in one folder: what is in it is whole and verified, whatever was
// killed while writing. Bounded in bytes; the least recently used go first, pinned ones never.
//
// Layout: <dir>/objects/<sha256>-<bytes> for whole files (a file of another size is damaged and
// counts as absent), <dir>/partial/<sha256> for those on their way. One process owns a folder, or
// several that say so share it: each has its own `partial`, and only one at a time evicts.
import { createReadStream, mkdirSync, rmSync, statSync } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { Fault } from "../../proto/fault.ts";
import type { Sha256 } from "../../proto/ids.ts";
import {
  dropOldPartials,
  sizeOfObject,
  type WholeObject,
  wholeObjects,
} from "./artifact-folder.ts";
import { ArtifactIndex } from "./artifact-index.ts";
import type { ByteRange } from "./byte-range.ts";
import { PartialFile } from "./partial-file.ts";

const DEFAULT_MAX_BYTES = 64 * 2 ** 30;
const EVICTION_WAIT_MS = 1000;

export interface ArtifactStoreOptions {
  readonly dir: string;
  /** Most bytes of whole artifacts to keep. */
  readonly maxBytes?: number;
  /** Other processes have the same folder. */
  readonly shared?: SharedFolder;
}

export interface SharedFolder {
  /** Of this process; no other has it. */
  readonly name: string;
  /** Whether it is for this process to make room. */
  readonly mayEvict: () => boolean;
}

/** A file on its way in. Exactly one of `commit`, `discard` and `close` ends it. */
export interface ArtifactWriter {
  /** Bytes already there, perhaps from before a crash; the next write continues here. */
  readonly offset: number;
  write(chunk: Uint8Array): Promise<void>;
  /** Starts again from nothing. */
  restart(): Promise<void>;
  /** Whether what is there so far hashes to the artifact's name. */
  matches(): boolean;
  /**
   * Verifies and makes the artifact visible, durably.
   * Faults: `invalid-argument` when the bytes hash to something else; they are dropped then.
   */
  commit(): Promise<void>;
  discard(): Promise<void>;
  /** Leaves what is there for a later resumption. */
  close(): Promise<void>;
}

export class ArtifactStore {
  readonly #objects: string;
  readonly #partials: string;
  readonly #maxBytes: number;
  readonly #shared: SharedFolder | undefined;
  readonly #index = new ArtifactIndex();
  /** Artifacts being written, each with what its end resolves. */
  readonly #writing = new Map<Sha256, PromiseWithResolvers<void>>();

  constructor(options: ArtifactStoreOptions) {
    this.#objects = join(options.dir, "objects");
    const { shared } = options;
    this.#shared = shared;
    this.#partials = join(options.dir, shared ? `partial-${shared.name}` : "partial");
    this.#maxBytes = options.maxBytes ?? DEFAULT_MAX_BYTES;
    mkdirSync(this.#objects, { recursive: true });
    mkdirSync(this.#partials, { recursive: true });
    this.#readObjects();
    dropOldPartials(this.#partials);
  }

  /** Sum of the sizes of what is held. */
  get bytes(): number {
    return this.#index.bytes;
  }

  list(): readonly WholeObject[] {
    return this.#index.list();
  }

  has(sha256: Sha256): boolean {
    return this.size(sha256) !== undefined;
  }

  /** Bytes of a whole artifact; undefined when it is absent or its file was damaged meanwhile. */
  size(sha256: Sha256): number | undefined {
    const bytes = this.#index.size(sha256) ?? this.#broughtByOthers(sha256);
    if (bytes === undefined) return undefined;
    const found = statSync(this.#pathOf(sha256, bytes), { throwIfNoEntry: false });
    if (found?.size === bytes) return bytes;
    this.#forget(sha256, bytes);
    return undefined;
  }

  /**
   * Where the artifact lies. Pin it for as long as the path is in use.
   * Faults: `not-found`.
   */
  path(sha256: Sha256): string {
    const bytes = this.size(sha256);
    if (bytes === undefined) throw new Fault("not-found", `artifact ${sha256} is not here`);
    this.#index.touch(sha256);
    return this.#pathOf(sha256, bytes);
  }

  /** Reads an artifact, or a range of it. Faults: `not-found`. */
  open(sha256: Sha256, range?: ByteRange): Readable {
    return createReadStream(this.path(sha256), range);
  }

  /** Keeps an artifact, here already or not, from eviction until the result is called. */
  pin(sha256: Sha256): () => void {
    return this.#index.pin(sha256);
  }

  /** Removes an artifact unless somebody has pinned it; returns whether it is gone. */
  drop(sha256: Sha256): boolean {
    const bytes = this.#index.size(sha256);
    if (bytes === undefined || this.#index.isPinned(sha256)) return bytes === undefined;
    this.#forget(sha256, bytes);
    return true;
  }

  /**
   * Starts or resumes writing. `bytes` is the size if known, 0 otherwise.
   * Faults: `conflict` while another writer has it, `payload-too-large` when it can never fit.
   */
  async write(sha256: Sha256, bytes: number): Promise<ArtifactWriter> {
    if (this.#writing.has(sha256)) {
      throw new Fault("conflict", `artifact ${sha256} is being written already`);
    }
    this.#assertRoom(bytes);
    this.#writing.set(sha256, Promise.withResolvers());
    try {
      const partial = await PartialFile.open(join(this.#partials, sha256));
      if (bytes > 0 && partial.offset > bytes) await partial.truncate();
      return this.#writer(sha256, bytes, partial);
    } catch (thrown) {
      this.#endWriting(sha256);
      throw thrown;
    }
  }

  /**
   * Waits for whoever writes the artifact now; then writes it, or, when it is here, resolves with
   * undefined. For those who want the artifact and don't mind who brings it.
   */
  async writeIfAbsent(sha256: Sha256, bytes: number): Promise<ArtifactWriter | undefined> {
    for (;;) {
      const writing = this.#writing.get(sha256);
      if (writing !== undefined) await writing.promise;
      else if (this.has(sha256)) return undefined;
      else return await this.write(sha256, bytes);
    }
  }

  /** Writes a whole artifact from its first byte. Does nothing when it is here already. */
  async put(sha256: Sha256, bytes: number, source: AsyncIterable<Uint8Array>): Promise<void> {
    const writer = await this.writeIfAbsent(sha256, bytes);
    if (writer === undefined) return;
    try {
      await writer.restart();
      for await (const chunk of source) await writer.write(chunk);
    } catch (thrown) {
      await writer.discard();
      throw thrown;
    }
    await writer.commit();
  }

  /**
   * Takes in a file of the same disk that its caller has verified and synced: it is moved here.
   * Faults: `payload-too-large`.
   */
  async adopt(sha256: Sha256, bytes: number, path: string): Promise<void> {
    this.#evictFor(bytes);
    await rename(path, this.#pathOf(sha256, bytes));
    const folder = await open(this.#objects);
    await folder.sync().finally(() => folder.close());
    this.#index.add(sha256, bytes);
  }

  /** Reads the artifact again and compares its hash; a damaged one is dropped. */
  async verify(sha256: Sha256): Promise<boolean> {
    const bytes = this.size(sha256);
    if (bytes === undefined) return false;
    const file = await PartialFile.open(this.#pathOf(sha256, bytes));
    await file.close();
    if (file.digest() === sha256) return true;
    this.#forget(sha256, bytes);
    return false;
  }

  #writer(sha256: Sha256, bytes: number, partial: PartialFile): ArtifactWriter {
    const limit = bytes > 0 ? bytes : this.#maxBytes;
    const end = async () => {
      await partial.close();
      this.#endWriting(sha256);
    };
    const discard = async () => {
      await rm(partial.path, { force: true });
      await end();
    };
    return {
      get offset() {
        return partial.offset;
      },
      write: async (chunk) => {
        if (partial.offset + chunk.length > limit) {
          throw new Fault("payload-too-large", `artifact ${sha256} is longer than ${limit} bytes`);
        }
        await partial.write(chunk);
      },
      restart: () => partial.truncate(),
      matches: () => partial.digest() === sha256,
      commit: () => this.#commit(sha256, bytes, partial).finally(end),
      discard,
      close: end,
    };
  }

  #endWriting(sha256: Sha256): void {
    const writing = this.#writing.get(sha256);
    this.#writing.delete(sha256);
    writing?.resolve();
  }

  async #commit(sha256: Sha256, bytes: number, partial: PartialFile): Promise<void> {
    const digest = partial.digest();
    if (digest !== sha256 || (bytes > 0 && bytes !== partial.offset)) {
      await rm(partial.path, { force: true });
      throw new Fault(
        "invalid-argument",
        `expected artifact ${sha256}, but its ${partial.offset} bytes hash to ${digest}`,
        { param: "sha256" },
      );
    }
    await partial.sync();
    await this.adopt(sha256, partial.offset, partial.path);
  }

  #assertRoom(bytes: number): readonly Sha256[] {
    const gone = this.#index.evictionsFor(bytes, this.#maxBytes);
    if (gone !== undefined) return gone;
    throw new Fault(
      "payload-too-large",
      `no room for ${bytes} bytes: ${this.#maxBytes} in all, and what is pinned stays`,
    );
  }

  /** Bytes of an artifact that another process has put here. */
  #broughtByOthers(sha256: Sha256): number | undefined {
    const bytes = this.#shared && sizeOfObject(this.#objects, sha256);
    if (bytes !== undefined) this.#index.add(sha256, bytes);
    return bytes;
  }

  #evictFor(bytes: number): void {
    if (this.#shared?.mayEvict() === false) {
      if (this.#assertRoom(bytes).length === 0) return;
      const why = "there is no room, and another process is to make it";
      throw new Fault("unavailable", why, { retryAfterMs: EVICTION_WAIT_MS });
    }
    if (this.#shared !== undefined) this.#readObjects(); // What others have brought counts, too.
    for (const sha256 of this.#assertRoom(bytes)) {
      this.#forget(sha256, this.#index.size(sha256) ?? 0);
    }
  }

  #forget(sha256: Sha256, bytes: number): void {
    this.#index.remove(sha256);
    rmSync(this.#pathOf(sha256, bytes), { force: true });
  }

  #pathOf(sha256: Sha256, bytes: number): string {
    return join(this.#objects, `${sha256}-${bytes}`);
  }

  /** Takes stock, oldest arrival first. */
  #readObjects(): void {
    for (const { sha256, bytes } of wholeObjects(this.#objects)) {
      // What is known keeps its place in the order of use.
      if (this.#index.size(sha256) !== bytes) this.#index.add(sha256, bytes);
    }
  }
}

export function createArtifactStore(options: ArtifactStoreOptions): ArtifactStore {
  return new ArtifactStore(options);
}
