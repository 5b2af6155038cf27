// One round's training on this edge, as it stands on disk: what was asked, how far it is, how it
// ended. Each change is durable before anybody hears of it.
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import { type TrainCommand, TrainCommandSchema } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { namePattern } from "../../proto/ids.ts";
import { makeFolder, replaceFile } from "../../sync/delta/durable-file.ts";

/** accepted → trained (the signed delta is on disk) → done or failed. */
export type JobPhase = "accepted" | "trained" | "done" | "failed";

export interface RoundJob {
  readonly command: TrainCommand;
  readonly phase: JobPhase;
  /** How it ended: what the region said, or why it failed. */
  readonly outcome: string;
  /** Starts of this process in which the job was run; bounds a job that kills its edge. */
  readonly attempts: number;
  readonly acceptedMs: number;
}

/** Ended jobs whose outcome is remembered, so that a command told again gets the same answer. */
const JOBS_KEPT = 32;
const JOB_FILE = "job.json";

export function isEnded({ phase }: RoundJob): boolean {
  return phase === "done" || phase === "failed";
}

export function jobKey({ command }: Pick<RoundJob, "command">): string {
  return `${command.offer!.campaign}.${command.offer!.round}`;
}

export class RoundJobs {
  readonly #dir: string;
  readonly #jobs = new Map<string, RoundJob>();

  /** Reads what a former process left. */
  constructor(dir: string) {
    this.#dir = dir;
    makeFolder(dir);
    for (const name of readdirSync(dir)) this.#load(name);
  }

  get(key: string): RoundJob | undefined {
    return this.#jobs.get(key);
  }

  /** The job that isn't ended, if any; there is at most one. */
  get open(): RoundJob | undefined {
    return [...this.#jobs.values()].find((job) => !isEnded(job));
  }

  /** Where a job's files lie. */
  folder(job: Pick<RoundJob, "command">): string {
    return join(this.#dir, jobKey(job));
  }

  /** Saves a job, durably. An ended job keeps nothing but its record. */
  save(job: RoundJob): void {
    const folder = this.folder(job);
    makeFolder(folder);
    const { command, ...rest } = job;
    const json = { ...rest, command: toJson(TrainCommandSchema, command) };
    replaceFile(join(folder, JOB_FILE), Buffer.from(JSON.stringify(json)));
    this.#jobs.set(jobKey(job), job);
    if (!isEnded(job)) return;
    for (const name of readdirSync(folder)) {
      if (name !== JOB_FILE) rmSync(join(folder, name), { recursive: true, force: true });
    }
    this.#prune();
  }

  #load(name: string): void {
    const folder = join(this.#dir, name);
    try {
      const json = JSON.parse(readFileSync(join(folder, JOB_FILE), "utf8"));
      const command = fromJson(TrainCommandSchema, json.command as JsonValue);
      const job: RoundJob = { ...json, command };
      if (!namePattern.test(command.offer?.campaign ?? "")) throw new TypeError("no campaign");
      this.#jobs.set(jobKey(job), job);
    } catch {
      // Killed before the record was written: nobody was told yes.
      rmSync(folder, { recursive: true, force: true });
    }
  }

  #prune(): void {
    const ended = [...this.#jobs.values()].filter(isEnded);
    ended.sort((a, b) => b.acceptedMs - a.acceptedMs);
    for (const job of ended.slice(JOBS_KEPT)) {
      this.#jobs.delete(jobKey(job));
      rmSync(this.folder(job), { recursive: true, force: true });
    }
  }
}
