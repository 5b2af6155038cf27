// The checkpoint of one training run: saved every so many steps or seconds, used by the same job
// alone, and gone when the run is through. A damaged one is as good as none.

import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { Fault } from "../../proto/fault.ts";
import type { Clock } from "../../runtime/clock.ts";
import { PEFT_WEIGHTS_FILE } from "../../sync/formats/peft-adapter.ts";
import type { Trainer } from "./trainer.ts";
import type { TrainerJob } from "./trainer-contract.ts";
import { restoreCheckpoint, saveCheckpoint } from "./training-checkpoint.ts";

const CHECKPOINT_FILE = "checkpoint.safetensors";
/** Steps may be long, and a kill shouldn't cost many of them. */
const CHECKPOINT_EVERY_MS = 10_000;

export class RunCheckpoint {
  readonly #file: string;
  readonly #job: TrainerJob;
  readonly #trainer: Trainer;
  readonly #clock: Clock;
  readonly #fingerprint: string;
  #savedMs: number;

  constructor(job: TrainerJob, trainer: Trainer, clock: Clock) {
    this.#file = path.join(job.output, CHECKPOINT_FILE);
    this.#job = job;
    this.#trainer = trainer;
    this.#clock = clock;
    this.#fingerprint = fingerprintOf(job);
    this.#savedMs = clock.monotonicMs();
  }

  /** Brings the trainer to where the run was, if it was; returns the loss that it began with. */
  restore(): number | undefined {
    try {
      const isOurs = (notes: Readonly<Record<string, string>>) => notes.job === this.#fingerprint;
      const notes = restoreCheckpoint(this.#file, this.#trainer, isOurs);
      return notes && Number(notes.lossBefore);
    } catch (thrown) {
      if (!(thrown instanceof Fault)) throw thrown;
      this.remove();
      return undefined;
    }
  }

  saveIfDue(lossBefore: number): void {
    const nowMs = this.#clock.monotonicMs();
    const isDue =
      this.#trainer.updates % this.#job.checkpointEverySteps === 0 ||
      nowMs - this.#savedMs >= CHECKPOINT_EVERY_MS;
    if (!isDue) return;
    const notes = { job: this.#fingerprint, lossBefore: String(lossBefore) };
    saveCheckpoint(this.#file, this.#trainer, notes);
    this.#savedMs = this.#clock.monotonicMs();
  }

  remove(): void {
    fs.rmSync(this.#file, { force: true });
  }
}

/** Tells jobs apart by what decides their result: how to learn, and the bytes to learn from. */
function fingerprintOf({ learning, seed, base, examples, replay, adapterIn }: TrainerJob): string {
  const hash = createHash("sha256").update(JSON.stringify([learning, seed]));
  for (const file of [examples, replay, path.join(adapterIn, PEFT_WEIGHTS_FILE)]) {
    hash.update(file === undefined ? "none" : fs.readFileSync(file)).update("\0");
  }
  const { size, mtimeMs } = fs.statSync(base);
  return hash.update(`${size} ${mtimeMs}`).digest("hex");
}
