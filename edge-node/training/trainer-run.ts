// Runs a trainer's command to its end and answers for it: its reports, its limits, its pauses, its
// death. Whatever it does, it does in processes of its own.

import { once } from "node:events";
import { StringDecoder } from "node:string_decoder";
import { Fault } from "../../proto/fault.ts";
import type { Clock, Timer } from "../../runtime/clock.ts";
import { type Ending, type ProcessGroup, startProcessGroup } from "./process-group.ts";
import type { ServingPause } from "./serving-pause.ts";
import { parseTrainingReport, type TrainingProgress } from "./trainer-contract.ts";

export interface TrainerRunOptions {
  /** The program and its arguments; the job's file is added as the last one. */
  readonly command: readonly string[];
  readonly jobFile: string;
  /** Of running, pauses not counted. */
  readonly timeLimitMs: number;
  /** Unix milliseconds after which nobody wants the result. */
  readonly deadlineMs?: number | undefined;
  readonly memoryBytesMax: number;
  readonly pausing?: ServingPause | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly clock: Clock;
  readonly onProgress?: ((progress: TrainingProgress) => void) | undefined;
  /** Called with the process id once the command runs. */
  readonly onSpawn?: ((pid: number) => void) | undefined;
}

const LOOK_EVERY_MS = 250;
const LAST_WORDS_MS = 2000;
const LINE_LENGTH_MAX = 65_536;
const STDERR_KEPT_CHARACTERS = 2000;
const MEBIBYTE = 2 ** 20;
/** What nice(1) and shells exit with when there is no such command, or it can't be executed. */
const NO_COMMAND_CODES = [126, 127];

/**
 * Resolves when the command has ended well.
 * Faults: those that it reports; cancelled (signal), deadline-exceeded (time limit),
 * failed-precondition (memory limit, no such command), internal (crash).
 */
export async function runTrainer(options: TrainerRunOptions): Promise<void> {
  const { command, jobFile, signal, onProgress } = options;
  if (signal?.aborted) throw new Fault("cancelled", "training was aborted");
  const group = startProcessGroup([...command, jobFile]);
  const limits = new Limits(group, options);
  let refusal: Fault | undefined;
  readLines(group, (line) => {
    const report = parseTrainingReport(line);
    if (limits.broken) return;
    if (report?.kind === "progress") onProgress?.(report);
    else if (report?.kind === "fault") refusal = new Fault(report.code, report.message);
  });
  const stderr = keepTail(group);
  const silent = once(group.stdout, "close");
  if (group.pid !== 0) options.onSpawn?.(group.pid);
  const ending = await group.ended.finally(() => limits.lift());
  await Promise.race([silent, after(options.clock, LAST_WORDS_MS)]);
  if (limits.broken) throw limits.broken;
  if (ending.kind === "exited" && ending.code === 0) return;
  throw refusal ?? deathOf(ending, command, stderr());
}

/** Ends the group when it breaks a limit or isn't wanted any more. */
class Limits {
  broken: Fault | undefined;
  readonly #group: ProcessGroup;
  readonly #options: TrainerRunOptions;
  readonly #timer: Timer;
  readonly #onAbort = () => this.#end(new Fault("cancelled", "training was aborted"));
  readonly #detach: () => void;
  #ranMs = 0;
  #lookedMs: number;

  constructor(group: ProcessGroup, options: TrainerRunOptions) {
    this.#group = group;
    this.#options = options;
    this.#lookedMs = options.clock.monotonicMs();
    this.#timer = options.clock.every(LOOK_EVERY_MS, () => this.#look());
    this.#detach = options.pausing?.attach(group) ?? (() => {});
    options.signal?.addEventListener("abort", this.#onAbort);
  }

  lift(): void {
    this.#timer.cancel();
    this.#detach();
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
  }

  #look(): void {
    const { clock, pausing, timeLimitMs, deadlineMs, memoryBytesMax } = this.#options;
    const nowMs = clock.monotonicMs();
    if (!pausing?.isPaused) this.#ranMs += nowMs - this.#lookedMs;
    this.#lookedMs = nowMs;
    if (this.#ranMs >= timeLimitMs) {
      const message = `training took longer than ${timeLimitMs} ms`;
      this.#end(new Fault("deadline-exceeded", message));
      return;
    }
    if (deadlineMs !== undefined && clock.now() >= deadlineMs) {
      const message = "training wasn't through before its deadline";
      this.#end(new Fault("deadline-exceeded", message));
      return;
    }
    const bytes = this.#group.residentBytes() ?? 0;
    if (bytes > memoryBytesMax) {
      const message =
        `training used ${mebibytes(bytes)} MiB of memory, more than its limit of ` +
        `${mebibytes(memoryBytesMax)}; use smaller or shorter batches`;
      this.#end(new Fault("failed-precondition", message));
    }
  }

  #end(fault: Fault): void {
    this.broken ??= fault;
    this.#group.kill();
  }
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / MEBIBYTE);
}

function readLines({ stdout }: ProcessGroup, onLine: (line: string) => void): void {
  const decoder = new StringDecoder("utf8");
  let rest = "";
  stdout.on("data", (chunk: Buffer) => {
    const lines = (rest + decoder.write(chunk)).split("\n");
    rest = lines.pop() ?? "";
    // No report is this long; what comes of it isn't read as one either.
    if (rest.length > LINE_LENGTH_MAX) rest = rest.slice(-1);
    for (const line of lines) onLine(line.trimEnd());
  });
  stdout.on("end", () => onLine(rest));
}

function keepTail({ stderr }: ProcessGroup): () => string {
  let tail = "";
  stderr.setEncoding("utf8").on("data", (text: string) => {
    tail = (tail + text).slice(-STDERR_KEPT_CHARACTERS);
  });
  return () => tail.trim();
}

function deathOf(ending: Ending, command: readonly string[], stderr: string): Fault {
  const [program = ""] = command;
  const isAbsent = ending.kind === "exited" && NO_COMMAND_CODES.includes(ending.code);
  if (isAbsent || ending.kind === "failed") {
    const message = `the trainer's command can't be run: ${program}`;
    return new Fault("failed-precondition", message, { cause: ending });
  }
  const how = ending.kind === "killed" ? ending.signal : `exit code ${ending.code}`;
  return new Fault("internal", `the training process died (${how}): ${stderr}`);
}

function after(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => clock.after(ms, resolve));
}
