// Counts what the scheduler does and says when it is time to tell the parent.
import { performance } from "node:perf_hooks";
import type { ChildStats } from "./child-messages.ts";
import type { ModelHost } from "./model-host.ts";
import { RateMeter } from "./rate-meter.ts";

const REPORT_EVERY_MS = 200;
/** Asking a driver for its memory takes longer than a step. */
const GPU_EVERY_MS = 2000;

export class EngineMeter {
  readonly #host: ModelHost;
  readonly #rates = new RateMeter();
  #stepBegunMs = 0;
  #reportedMs = Number.NEGATIVE_INFINITY;
  #reportedActive = -1;
  #gpuAskedMs = Number.NEGATIVE_INFINITY;
  #gpu = { gpuUsedBytes: 0, gpuTotalBytes: 0 };
  #prefilled = 0;
  generated = 0;
  reused = 0;

  constructor(host: ModelHost) {
    this.#host = host;
  }

  stepping(): void {
    this.#stepBegunMs = performance.now();
  }

  stepped(streams: number, prefillTokens: number): void {
    this.#prefilled += prefillTokens;
    this.#rates.step(streams, prefillTokens, performance.now() - this.#stepBegunMs);
  }

  /** Returns null while the last report is young and as many sequences are at work as then. */
  report(active: number, queued: number, always: boolean): ChildStats | null {
    const nowMs = performance.now();
    const due = nowMs - this.#reportedMs >= REPORT_EVERY_MS || active !== this.#reportedActive;
    if (!due && !always) return null;
    this.#reportedMs = nowMs;
    this.#reportedActive = active;
    if (nowMs - this.#gpuAskedMs >= GPU_EVERY_MS) this.#askGpu(nowMs);
    return {
      active,
      queued,
      prefillTokensPerSecond: this.#rates.prefill,
      decodeTokensPerSecondPerStream: this.#rates.decodePerStream,
      decodeTokensPerSecondTotal: this.#rates.decodeTotal,
      tokensGenerated: this.generated,
      tokensPrefilled: this.#prefilled,
      tokensReused: this.reused,
      stateTokens: this.#host.stateTokens,
      held: this.#host.held,
      rssBytes: process.memoryUsage.rss(),
      ...this.#gpu,
    };
  }

  #askGpu(nowMs: number): void {
    this.#gpuAskedMs = nowMs;
    this.#host.gpuMemory().then(
      (memory) => {
        this.#gpu = memory;
      },
      () => {
        // A driver that can't say: the last figures stand.
      },
    );
  }
}
