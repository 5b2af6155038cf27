// The parent's end of one child process: starts it, loads the model, carries calls and events, and
// tells when it is gone. Knows nothing of restarts.
import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { Fault } from "../../../proto/fault.ts";
import type { Clock } from "../../../runtime/clock.ts";
import type { EngineInfo, GenerateEvent } from "../engine.ts";
import type {
  ChildCall,
  ChildStats,
  FaultRecord,
  FromChild,
  LoadOptions,
  ToChild,
} from "./child-messages.ts";
import { reviveFault } from "./child-messages.ts";

const CHILD = fileURLToPath(new URL("./child.ts", import.meta.url));
/** What is kept of the child's last words, for the message when it crashes. */
const LAST_WORDS_MAX = 2000;

export interface ChildListeners {
  onStats(stats: ChildStats): void;
  /** Called once, when the process is gone or its channel is closed. */
  onExit(fault: Fault): void;
  log(text: string): void;
}

interface OpenCall {
  resolve(value: unknown): void;
  reject(fault: Fault): void;
  onEvent(event: GenerateEvent): void;
}

export class EngineChild {
  readonly #process: ChildProcess;
  readonly #listeners: ChildListeners;
  readonly #calls = new Map<number, OpenCall>();
  readonly #loaded = Promise.withResolvers<EngineInfo>();
  #nextId = 1;
  #lastWords = "";
  #gone: Fault | null = null;
  readonly #clock: Clock;
  #heardMs = 0;

  constructor(listeners: ChildListeners, clock: Clock) {
    this.#listeners = listeners;
    this.#clock = clock;
    this.#process = fork(CHILD, [], {
      serialization: "advanced",
      execArgv: [],
      stdio: ["ignore", "ignore", "pipe", "ipc"],
      // Fewer malloc arenas: what loading and unloading leaves behind stays small.
      env: { ...process.env, MALLOC_ARENA_MAX: "2" },
    });
    this.#process.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#lastWords = (this.#lastWords + text).slice(-LAST_WORDS_MAX);
      listeners.log(text);
    });
    this.#process.on("message", (message: FromChild) => this.#receive(message));
    this.#process.on("error", (problem) => this.#end(problem.message));
    this.#process.on("exit", (code, signal) => this.#end(`it exited with ${signal ?? code}`));
    this.#loaded.promise.catch(() => {
      // Told again through load(), or through onExit when nobody loads.
    });
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  load(options: LoadOptions): Promise<EngineInfo> {
    this.#send({ kind: "load", options });
    return this.#loaded.promise;
  }

  /** Aborting the signal rejects at once; the child is told and stops within a step. */
  call(
    call: ChildCall,
    signal: AbortSignal | null,
    onEvent: (event: GenerateEvent) => void,
  ): Promise<unknown> {
    if (this.#gone !== null) return Promise.reject(this.#gone);
    if (signal?.aborted) return Promise.reject(cancelled());
    const id = this.#nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const abort = () => {
      this.#calls.delete(id);
      this.#send({ kind: "cancel", id });
      reject(cancelled());
    };
    signal?.addEventListener("abort", abort, { once: true });
    if (this.#calls.size === 0) this.#heardMs = this.#clock.monotonicMs();
    this.#calls.set(id, { resolve, reject, onEvent });
    this.#send({ kind: "call", id, call });
    return promise.finally(() => signal?.removeEventListener("abort", abort));
  }

  /** For how long it has been silent although it has something to do. */
  get silentMs(): number {
    return this.#calls.size === 0 ? 0 : this.#clock.monotonicMs() - this.#heardMs;
  }

  get openCalls(): number {
    return this.#calls.size;
  }

  /** Ends the process; resolves when it is gone. */
  async kill(): Promise<void> {
    const child = this.#process;
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    child.kill("SIGKILL");
    await exited;
  }

  #receive(message: FromChild): void {
    this.#heardMs = this.#clock.monotonicMs();
    switch (message.kind) {
      case "events":
        for (const [id, event] of message.events) this.#calls.get(id)?.onEvent(event);
        return;
      case "reply":
        this.#take(message.id)?.resolve(message.value);
        return;
      case "fault":
        this.#take(message.id)?.reject(reviveFault(message.fault));
        return;
      case "stats":
        this.#listeners.onStats(message.stats);
        return;
      case "loaded":
        this.#loaded.resolve(message.info);
        return;
      case "load-failed":
        this.#loaded.reject(loadFault(message.fault));
        return;
    }
  }

  #take(id: number): OpenCall | undefined {
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    return call;
  }

  #end(why: string): void {
    if (this.#gone !== null) return;
    const words = this.#lastWords.trim().split("\n").slice(-3).join(" ");
    const message = `the engine's process is gone: ${why}${words === "" ? "" : ` (${words})`}`;
    this.#gone = new Fault("engine-crashed", message, { stage: "interrupted" });
    this.#loaded.reject(this.#gone);
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const call of calls) call.reject(this.#gone);
    this.#listeners.onExit(this.#gone);
  }

  #send(message: ToChild): void {
    if (this.#gone !== null || !this.#process.connected) return;
    this.#process.send(message, (problem) => {
      if (problem !== null) this.#end(problem.message);
    });
  }
}

function loadFault(record: FaultRecord): Fault {
  const fault = reviveFault(record);
  return new Fault(fault.code, `the model can't be loaded: ${fault.message}`);
}

function cancelled(): Fault {
  return new Fault("cancelled", "nobody waits for the answer any more", { stage: "interrupted" });
}
