// The penalties of several places, by name: what recent failures add to the prediction of each.
import type { FaultCode } from "../../proto/fault.ts";
import { FadingPenalty } from "./fading-penalty.ts";

export class FailurePenalty {
  readonly #penalties = new Map<string, FadingPenalty>();

  failed(name: string, code: FaultCode, nowMs: number): void {
    const penalty = this.#penalties.get(name) ?? new FadingPenalty();
    penalty.failed(code, nowMs);
    if (penalty.isAny) this.#penalties.set(name, penalty);
  }

  succeeded(name: string, nowMs: number): void {
    this.#penalties.get(name)?.succeeded(nowMs);
  }

  /** What is left of it now; nothing is remembered of one that has faded. */
  of(name: string, nowMs: number): number {
    const ms = this.#penalties.get(name)?.msAt(nowMs) ?? 0;
    if (ms === 0) this.#penalties.delete(name);
    return ms;
  }

  forget(name: string): void {
    this.#penalties.delete(name);
  }
}
