// What an edge still owes to each campaign: the numbers that top-k left out of its last delta,
// durable, and counted once whatever is killed or abandoned.
//
// Layout: <dir>/<campaign>/<round>.safetensors, with the hash of the state that the round started
// from in its metadata, and that state's tensors under names of their own.
import { mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { makeFolder, replaceFile, syncFolder } from "../../sync/delta/durable-file.ts";
import type { TensorMap } from "../../sync/delta/tensor-map.ts";
import {
  encodeSafetensors,
  readSafetensors,
  type SafeTensor,
} from "../../sync/formats/safetensors.ts";

/** Campaigns whose residuals are kept; those of one that ended are of no use to another. */
const CAMPAIGNS_KEPT = 4;
const START_KEY = "start";
/** Before the names of the start's tensors; no tensor of an adapter is called so. */
const START_PREFIX = "start:";
const roundFilePattern = /^(\d{1,9})\.safetensors$/;

/** What is owed, in the coordinates of the state that its round started from. */
export interface Owed {
  readonly residual: TensorMap;
  readonly start: TensorMap;
}

interface Kept extends Owed {
  readonly round: number;
  readonly path: string;
  readonly startSha256: string;
}

export class ResidualStore {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
    makeFolder(dir);
  }

  /**
   * What is owed in a round that starts from this state; null when nothing is. A residual of a
   * round that started from the same state doesn't count: that round was undone (abandoned, or its
   * version refused), and what is owed is what was owed before it.
   */
  owed(campaign: string, startSha256: string): Owed | null {
    const former = this.#read(campaign).find((kept) => kept.startSha256 !== startSha256);
    return former ? { residual: former.residual, start: former.start } : null;
  }

  /** Writes a residual beside its delta; it counts once it is kept. */
  stage(path: string, startSha256: string, { residual, start }: Owed): void {
    const metadata = { [START_KEY]: startSha256 };
    const named = [...start].map(([name, tensor]) => [START_PREFIX + name, tensor] as const);
    replaceFile(path, encodeSafetensors({ metadata, tensors: new Map([...residual, ...named]) }));
  }

  /** Keeps a staged residual, because its delta was included. Does nothing when that was done. */
  keep(campaign: string, round: number, staged: string): void {
    if (statSync(staged, { throwIfNoEntry: false }) === undefined) return;
    const path = join(this.#dir, campaign, `${round}.safetensors`);
    mkdirSync(dirname(path), { recursive: true });
    renameSync(staged, path);
    syncFolder(dirname(path));
    syncFolder(this.#dir);
    this.#prune(campaign);
    this.#pruneCampaigns();
  }

  /** Newest first. */
  #read(campaign: string): readonly Kept[] {
    const dir = join(this.#dir, campaign);
    if (statSync(dir, { throwIfNoEntry: false }) === undefined) return [];
    return readdirSync(dir)
      .flatMap((name) => {
        const round = roundFilePattern.exec(name)?.[1];
        if (round === undefined) return [];
        const path = join(dir, name);
        const { metadata, tensors } = readSafetensors(path);
        const startSha256 = metadata[START_KEY] ?? "";
        return [{ round: Number(round), path, startSha256, ...splitTensors(tensors) }];
      })
      .sort((a, b) => b.round - a.round);
  }

  /** Leaves the newest one, and the newest of another start, for when that round is undone. */
  #prune(campaign: string): void {
    const [newest, ...older] = this.#read(campaign);
    const former = older.find(({ startSha256 }) => startSha256 !== newest?.startSha256);
    for (const { path } of older) if (path !== former?.path) rmSync(path);
  }

  #pruneCampaigns(): void {
    const campaigns = readdirSync(this.#dir)
      .map((name) => ({ name, changedMs: statSync(join(this.#dir, name)).mtimeMs }))
      .sort((a, b) => b.changedMs - a.changedMs);
    for (const { name } of campaigns.slice(CAMPAIGNS_KEPT)) {
      rmSync(join(this.#dir, name), { recursive: true });
    }
  }
}

function splitTensors(tensors: TensorMap): Owed {
  const residual = new Map<string, SafeTensor>();
  const start = new Map<string, SafeTensor>();
  for (const [name, tensor] of tensors) {
    if (name.startsWith(START_PREFIX)) start.set(name.slice(START_PREFIX.length), tensor);
    else residual.set(name, tensor);
  }
  return { residual, start };
}
