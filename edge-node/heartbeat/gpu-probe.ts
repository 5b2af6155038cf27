// How the GPUs of this machine fare, as NVIDIA's own tool tells it: asked in the background, now
// and then, with a bound on each asking. Where the tool doesn't exist nothing is asked again.
import { execFile } from "node:child_process";
import { create } from "@bufbuild/protobuf";
import { type GpuState, GpuStateSchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { Clock, Timer } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";

const EVERY_MS = 2000;
const TIMEOUT_MS = 1500;
const OUTPUT_BYTES_MAX = 64 * 1024;
const GPUS_MAX = 16;
/** Failures in a row after which what was told last is too old to be told on. */
const FAILURES_MAX = 3;
const MIB = 1024 * 1024;
const FIELDS = ["name", "memory.total", "memory.free", "utilization.gpu", "temperature.gpu"];

export interface GpuProbeOptions {
  /** Found on PATH unless it is a path. */
  readonly command?: string;
  readonly clock: Clock;
  readonly log: Log;
}

export class GpuProbe {
  readonly #options: GpuProbeOptions;
  readonly #stopping = new AbortController();
  readonly #timer: Timer;
  #states: readonly GpuState[] = [];
  #isAsking = false;
  #failures = 0;

  /** Begins to ask. */
  constructor(options: GpuProbeOptions) {
    this.#options = options;
    this.#timer = options.clock.every(EVERY_MS, () => this.#ask());
    this.#ask();
  }

  /** As told last; empty where nothing is known. */
  get states(): readonly GpuState[] {
    return this.#states;
  }

  stop(): void {
    this.#timer.cancel();
    this.#stopping.abort();
  }

  #ask(): void {
    if (this.#isAsking) return;
    this.#isAsking = true;
    const { command = "nvidia-smi" } = this.#options;
    const args = [`--query-gpu=${FIELDS.join(",")}`, "--format=csv,noheader,nounits"];
    const { signal } = this.#stopping;
    const bounds = {
      timeout: TIMEOUT_MS,
      killSignal: "SIGKILL",
      maxBuffer: OUTPUT_BYTES_MAX,
    } as const;
    execFile(command, args, { ...bounds, signal }, (problem, output) => {
      this.#isAsking = false;
      if (signal.aborted) return;
      if (problem === null) this.#heard(output);
      else this.#missed(problem);
    });
  }

  #heard(output: string): void {
    this.#failures = 0;
    this.#states = parseGpuStates(output);
  }

  #missed(problem: Error): void {
    if ("code" in problem && problem.code === "ENOENT") {
      this.#timer.cancel();
      return;
    }
    this.#failures++;
    if (this.#failures < FAILURES_MAX) return;
    if (this.#failures === FAILURES_MAX) {
      this.#options.log.warn({ err: problem }, "the GPUs' tool doesn't answer");
    }
    this.#states = [];
  }
}

/** Reads the tool's lines, one for each device; what it can't say is 0. */
export function parseGpuStates(output: string): GpuState[] {
  const lines = output.split("\n").filter((line) => line.trim() !== "");
  return lines.slice(0, GPUS_MAX).flatMap((line) => {
    const parts = line.split(",").map((part) => part.trim());
    if (parts.length !== FIELDS.length) return [];
    const [name, total, free, percent, celsius] = parts;
    return create(GpuStateSchema, {
      name: name ?? "",
      vramTotalBytes: BigInt(Math.round(numberOf(total) * MIB)),
      vramFreeBytes: BigInt(Math.round(numberOf(free) * MIB)),
      utilisation: Math.min(1, numberOf(percent) / 100),
      temperatureC: numberOf(celsius),
    });
  });
}

function numberOf(text: string | undefined): number {
  const value = Number(text);
  return Number.isFinite(value) && value > 0 ? value : 0;
}
