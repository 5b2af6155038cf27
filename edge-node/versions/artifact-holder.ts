// Brings the files that a version needs onto this edge and keeps them there while they are used.
// However many ask for the same file at once, it is pulled once.
import { Fault } from "../../proto/fault.ts";
import type { Sha256 } from "../../proto/ids.ts";
import type { Clock } from "../../runtime/clock.ts";
import { pullArtifact } from "../../sync/artifact/artifact-pull.ts";
import type { ArtifactStore } from "../../sync/artifact/artifact-store.ts";
import type { ArtifactRef } from "./model-goal.ts";

export interface HeldArtifact {
  readonly path: string;
  release(): void;
}

export interface ArtifactHolderOptions {
  readonly store: ArtifactStore;
  /** Addresses (http://host:port) to pull from, the nearest first. */
  readonly sources: () => readonly string[];
  readonly clock: Clock;
}

export class ArtifactHolder {
  readonly #options: ArtifactHolderOptions;
  readonly #pulls = new Map<Sha256, Promise<void>>();
  /** Those whose bytes this process has read and found right. */
  readonly #verified = new Set<Sha256>();
  readonly #stopping = new AbortController();

  constructor(options: ArtifactHolderOptions) {
    this.#options = options;
  }

  /**
   * Requires: `release` is called when the path is no longer used. An abort ends the wait, not the
   * pull, which another may be waiting for. Faults: `unavailable`, `cancelled`.
   */
  async hold(artifact: ArtifactRef, signal: AbortSignal): Promise<HeldArtifact> {
    const { store } = this.#options;
    const release = store.pin(artifact.sha256);
    try {
      await unlessAborted(this.#bring(artifact), signal);
      return { path: store.path(artifact.sha256), release };
    } catch (thrown) {
      release();
      throw thrown;
    }
  }

  stop(): void {
    this.#stopping.abort();
  }

  #bring(artifact: ArtifactRef): Promise<void> {
    const running = this.#pulls.get(artifact.sha256);
    if (running !== undefined) return running;
    const pull = this.#pull(artifact).finally(() => this.#pulls.delete(artifact.sha256));
    this.#pulls.set(artifact.sha256, pull);
    pull.catch(() => {}); // told to whoever still waits
    return pull;
  }

  async #pull(artifact: ArtifactRef): Promise<void> {
    const { store, sources, clock } = this.#options;
    // A flipped bit in the weights loads without a complaint: read the file once before use.
    if (store.has(artifact.sha256)) {
      if (this.#verified.has(artifact.sha256)) return;
      if (!(await store.verify(artifact.sha256))) await this.#pull(artifact);
      this.#verified.add(artifact.sha256);
      return;
    }
    this.#verified.delete(artifact.sha256);
    await pullArtifact(artifact, sources(), store, { clock, signal: this.#stopping.signal });
    this.#verified.add(artifact.sha256);
  }
}

async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(new Fault("cancelled", "no longer wanted"));
  if (signal.aborted) onAbort();
  else signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
