// The rounds that this region keeps on disk, one folder each: <dir>/<campaign>/<round>/round.log.
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { RoundOffer } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { namePattern } from "../../proto/ids.ts";
import { deltaBytesOf, type RetentionBounds, roundsToForget } from "./delta-retention.ts";
import { RoundRunner, type RunnerOptions } from "./round-runner.ts";

/** Rounds that may be open at once. */
export const ROUNDS_OPEN_MAX = 8;
const roundPattern = /^[1-9]\d{0,8}$|^0$/;

export interface RoundArchiveOptions extends RunnerOptions {
  readonly kept: RetentionBounds;
  /** A round is kept no longer; nothing of it is pinned any more. */
  readonly onForgotten: (runner: RoundRunner) => void;
}

export class RoundArchive {
  readonly #dir: string;
  readonly #options: RoundArchiveOptions;
  readonly #runners = new Map<string, RoundRunner>();

  private constructor(dir: string, options: RoundArchiveOptions) {
    this.#dir = dir;
    this.#options = options;
    mkdirSync(dir, { recursive: true });
  }

  /** Reads every round back; none of them runs before its `resume`. */
  static async open(dir: string, options: RoundArchiveOptions): Promise<RoundArchive> {
    const archive = new RoundArchive(dir, options);
    for (const campaign of foldersIn(dir, namePattern)) {
      for (const round of foldersIn(join(dir, campaign), roundPattern)) {
        const runner = await RoundRunner.recover(join(dir, campaign, round), options);
        if (runner) archive.#runners.set(`${campaign}/${round}`, runner);
      }
    }
    return archive;
  }

  /** In no particular order. */
  list(): readonly RoundRunner[] {
    return [...this.#runners.values()];
  }

  get(campaign: string, round: number): RoundRunner | undefined {
    return this.#runners.get(`${campaign}/${round}`);
  }

  ofCampaign(campaign: string): readonly RoundRunner[] {
    return this.list().filter(({ state }) => state.offer.campaign === campaign);
  }

  /** Whether another round fits beside the open ones. */
  get hasRoom(): boolean {
    return this.list().filter(({ state }) => state.phase !== "done").length < ROUNDS_OPEN_MAX;
  }

  /** Opens a round, durably. Requires one that is not here, of a checked campaign name. */
  async add(offer: RoundOffer, atMs: number): Promise<RoundRunner> {
    const { campaign, round } = offer;
    const dir = join(this.#dir, campaign, String(round));
    const runner = await RoundRunner.create(dir, { kind: "opened", atMs, offer }, this.#options);
    this.#runners.set(`${campaign}/${round}`, runner);
    await this.prune();
    return runner;
  }

  async close(): Promise<void> {
    await Promise.all(this.list().map((runner) => runner.close()));
  }

  /** Forgets rounds beyond the bounds. */
  async prune(): Promise<void> {
    const rounds = [...this.#runners].map(([key, { state }]) => {
      const { openedMs, taken } = state;
      return { key, openedMs, taken, bytes: deltaBytesOf(state) };
    });
    const { kept, clock, onForgotten } = this.#options;
    for (const key of roundsToForget(rounds, kept, clock.now())) {
      const runner = this.#runners.get(key)!;
      this.#runners.delete(key);
      await runner.close();
      rmSync(join(this.#dir, key), { recursive: true, force: true });
      onForgotten(runner);
    }
  }
}

function foldersIn(dir: string, pattern: RegExp): readonly string[] {
  return readdirSync(dir, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && pattern.test(entry.name))
    .map(({ name }) => name);
}
