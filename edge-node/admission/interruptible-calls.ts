// Calls that an operator can end: their callers are told `draining`, interrupted, which any relay
// takes as a reason to go on elsewhere.
import { Fault } from "../../proto/fault.ts";
import type { CallContext } from "../../runtime/inference/backend.ts";

export class InterruptibleCalls {
  readonly #running = new Set<() => void>();

  /** Runs `work` with a signal that fires when the caller's does, and at an interruption. */
  async run<T>(context: CallContext, work: (context: CallContext) => Promise<T>): Promise<T> {
    const inner = new AbortController();
    let isInterrupted = false;
    const pass = () => inner.abort();
    const interrupt = () => {
      isInterrupted = true;
      inner.abort();
    };
    if (context.signal.aborted) pass();
    context.signal.addEventListener("abort", pass, { once: true });
    this.#running.add(interrupt);
    try {
      return await work({ ...context, signal: inner.signal });
    } catch (thrown) {
      if (!isInterrupted || context.signal.aborted) throw thrown;
      throw new Fault("draining", "this edge is being drained", {
        stage: "interrupted",
        cause: thrown,
      });
    } finally {
      this.#running.delete(interrupt);
      context.signal.removeEventListener("abort", pass);
    }
  }

  /** Ends all that run now. */
  interrupt(): void {
    for (const interrupt of [...this.#running]) interrupt();
  }
}
