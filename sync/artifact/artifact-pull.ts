// Brings an artifact from whoever has it into a store, over HTTP ranges: goes on where it (or a
// process before it) stopped, moves to the next source, and trusts nothing but the hash.
import { Fault } from "../../proto/fault.ts";
import type { Sha256 } from "../../proto/ids.ts";
import { type Clock, systemClock } from "../../runtime/clock.ts";
import type { ArtifactStore, ArtifactWriter } from "./artifact-store.ts";
import { parseContentRange } from "./byte-range.ts";
import { pause } from "./pause.ts";
import { type PullOutcome, PullPlan } from "./pull-plan.ts";
import { Watchdog } from "./watchdog.ts";

/** Silence after which a source is given up for the moment. */
const STALL_MS = 10_000;

export interface PullTarget {
  readonly sha256: Sha256;
  /** 0 when unknown. */
  readonly bytes: number;
}

export interface PullOptions {
  readonly signal?: AbortSignal;
  readonly clock?: Clock;
  /** Bytes that are here, of how many (0 when unknown). */
  readonly onProgress?: (bytes: number, total: number) => void;
}

/**
 * Makes sure that the store holds the artifact; resolves with its path.
 * Requires: `sources` are addresses (http://host:port) of roles that serve /v1/artifacts.
 * Faults: `unavailable` when no source yields it, `cancelled`, and those of the store.
 */
export async function pullArtifact(
  target: PullTarget,
  sources: readonly string[],
  store: ArtifactStore,
  options: PullOptions = {},
): Promise<string> {
  const writer = await store.writeIfAbsent(target.sha256, target.bytes);
  if (writer === undefined) return store.path(target.sha256);
  const clock = options.clock ?? systemClock;
  const transfer = new Transfer(target, writer, clock, options);
  try {
    const plan = new PullPlan(sources);
    let step = plan.first();
    while (step.kind === "ask") {
      await pause(clock, step.afterMs, options.signal);
      const outcome = await transfer.attempt(step.source);
      if (outcome === "done") return store.path(target.sha256);
      step = plan.next(outcome);
    }
    throw new Fault("unavailable", `artifact ${target.sha256}: ${step.reason}`);
  } finally {
    await transfer.close();
  }
}

/** The attempts at one artifact; all of them write on at the same offset. */
class Transfer {
  readonly #target: PullTarget;
  readonly #clock: Clock;
  readonly #options: PullOptions;
  readonly #writer: ArtifactWriter;
  #committed = false;

  constructor(target: PullTarget, writer: ArtifactWriter, clock: Clock, options: PullOptions) {
    this.#target = target;
    this.#writer = writer;
    this.#clock = clock;
    this.#options = options;
  }

  async close(): Promise<void> {
    if (!this.#committed) await this.#writer.close();
  }

  async attempt(source: string): Promise<"done" | PullOutcome> {
    const resumedAt = this.#writer.offset;
    const watchdog = new Watchdog(this.#clock, STALL_MS, this.#options.signal);
    try {
      if (!this.#complete()) {
        const refused = await this.#fetch(source, watchdog);
        if (refused !== undefined) return refused;
      }
    } catch (thrown) {
      this.#assertWanted();
      if (thrown instanceof Fault) throw thrown;
      if (this.#writer.offset > resumedAt) return { kind: "progress" };
      return { kind: "failed", reason: `${source}: ${reasonOf(thrown)}` };
    } finally {
      watchdog.stop();
    }
    return await this.#finish(source, resumedAt);
  }

  #complete(): boolean {
    return this.#target.bytes > 0 && this.#writer.offset === this.#target.bytes;
  }

  async #fetch(source: string, watchdog: Watchdog): Promise<PullOutcome | undefined> {
    const url = new URL(`/v1/artifacts/${this.#target.sha256}`, source);
    const from = this.#writer.offset;
    const headers: Record<string, string> = { "accept-encoding": "identity" };
    if (from > 0) headers.range = `bytes=${from}-`;
    const response = await fetch(url, { headers, signal: watchdog.signal });
    watchdog.feed();
    if (!response.ok || response.body === null) return await refusal(source, response);
    if (!startsAt(response, from)) await this.#writer.restart();
    const total = this.#target.bytes || totalOf(response);
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      watchdog.feed();
      await this.#writer.write(chunk);
      this.#options.onProgress?.(this.#writer.offset, total);
    }
    if (total > 0 && this.#writer.offset < total) throw new Error("the answer ended early");
    return undefined;
  }

  /** All bytes are here: are they the right ones? */
  async #finish(source: string, resumedAt: number): Promise<"done" | PullOutcome> {
    try {
      await this.#verify();
      return "done";
    } catch (thrown) {
      if (!(thrown instanceof Fault) || thrown.code !== "invalid-argument") throw thrown;
      const reason = `${source}: ${thrown.message}`;
      return resumedAt === 0 ? { kind: "corrupt", reason } : { kind: "failed", reason };
    }
  }

  async #verify(): Promise<void> {
    if (!this.#writer.matches()) {
      const { offset } = this.#writer;
      await this.#writer.restart();
      throw new Fault("invalid-argument", `its ${offset} bytes hash to something else`);
    }
    this.#committed = true;
    await this.#writer.commit();
  }

  #assertWanted(): void {
    if (this.#options.signal?.aborted) {
      throw new Fault("cancelled", `pull of artifact ${this.#target.sha256} was cancelled`);
    }
  }
}

async function refusal(source: string, response: Response): Promise<PullOutcome> {
  await response.body?.cancel();
  const retryAfterSeconds = Number(response.headers.get("retry-after"));
  if (response.status === 503 && retryAfterSeconds > 0) {
    return { kind: "busy", retryAfterMs: retryAfterSeconds * 1000 };
  }
  return { kind: "failed", reason: `${source} answered ${response.status}` };
}

function startsAt(response: Response, offset: number): boolean {
  if (response.status !== 206) return offset === 0;
  const range = parseContentRange(response.headers.get("content-range") ?? "")?.range;
  if (range === undefined || range.start !== offset) {
    throw new Error(`asked for bytes from ${offset}, got ${response.headers.get("content-range")}`);
  }
  return true;
}

function totalOf(response: Response): number {
  const ranged = parseContentRange(response.headers.get("content-range") ?? "")?.total;
  return ranged ?? Number(response.headers.get("content-length") ?? 0);
}

function reasonOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  return thrown.cause instanceof Error
    ? `${thrown.message}: ${thrown.cause.message}`
    : thrown.message;
}
