// One process of the mesh as its launcher sees it: started, watched until it says or shows that it
// is ready, its output kept in a bounded log, stopped gently and then by force.
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { StringDecoder } from "node:string_decoder";
import { type Clock, systemClock, type Timer } from "../../runtime/clock.ts";
import { LogFile } from "./log-file.ts";
import { sendSignal } from "./process-identity.ts";
import type { ReaperLink } from "./reaper-link.ts";

/** A role stops within 5 s by itself. */
const STOP_GRACE_MS = 6_000;
const PROBE_EVERY_MS = 50;
const PROBE_TIMEOUT_MS = 1_000;
const READY_LINE_MAX_BYTES = 4_096;
const LOG_TAIL_LINES = 15;

export interface ProcessPlan {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly logPath: string;
  /** `ready-line`: it prints `{"ready":true,...}`; else a URL that answers 200 once it is ready. */
  readonly readiness: "ready-line" | { readonly url: string };
  /** A nats-server: told apart because it can't notice that its launcher died. */
  readonly server: boolean;
}

export interface ReadyAddresses {
  readonly http?: string;
  readonly grpc?: string;
}

export interface ProcessExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export type ProcessState = "starting" | "ready" | "exited";

export interface ProcessEvents {
  readonly reaper?: ReaperLink;
  readonly clock?: Clock;
  readonly onChange?: (state: ProcessState) => void;
}

export class SupervisedProcess {
  readonly plan: ProcessPlan;
  readonly pid: number;
  /** Resolves when it is ready; rejects, with the log's end in the message, when it ends before. */
  readonly ready: Promise<ReadyAddresses>;
  readonly exited: Promise<ProcessExit>;
  state: ProcessState = "starting";
  readonly #child: ChildProcess;
  readonly #clock: Clock;
  readonly #events: ProcessEvents;
  readonly #log: LogFile;

  constructor(plan: ProcessPlan, events: ProcessEvents = {}) {
    this.plan = plan;
    this.#events = events;
    this.#clock = events.clock ?? systemClock;
    this.#log = new LogFile(plan.logPath);
    // Its own group: Ctrl-C reaches the launcher alone, and its children can be swept after it.
    this.#child = spawn(plan.command, plan.args, {
      detached: true,
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.#child.stdin?.on("error", () => {}); // it has ended; "exit" tells
    const failed = Promise.withResolvers<ProcessExit>();
    this.#child.once("error", (error) => failed.reject(error));
    this.pid = this.#child.pid ?? 0;
    if (this.pid > 0) events.reaper?.watch(this.pid, plan.server);
    const readyLine = this.#followOutput();
    this.exited = this.#followExit(failed.promise);
    this.ready = this.#awaitReady(readyLine);
    this.ready.catch(() => {}); // whoever cares awaits it; `exited` tells the rest
  }

  /** Sends a signal to the process alone; false when it has ended. */
  signal(signal: NodeJS.Signals): boolean {
    return this.state !== "exited" && sendSignal(this.pid, signal);
  }

  /** Ends it and all its children: SIGTERM, and SIGKILL when that takes too long. */
  async stop(graceMs: number = STOP_GRACE_MS): Promise<void> {
    if (this.state === "exited") return;
    this.signal("SIGTERM");
    this.signal("SIGCONT"); // a frozen process handles nothing until it is thawed
    const timer = this.#clock.after(graceMs, () => this.forceStop());
    await this.exited;
    timer.cancel();
  }

  /** Ends it and all its children at once. */
  forceStop(): void {
    if (this.state !== "exited") sendSignal(this.pid, "SIGKILL", true);
  }

  /** The last lines it logged, for a message about its end. */
  logTail(): string {
    const lines = readFileSync(this.plan.logPath, "utf8").trimEnd().split("\n");
    return lines.slice(-LOG_TAIL_LINES).join("\n");
  }

  #followOutput(): Promise<ReadyAddresses> {
    const { promise, resolve } = Promise.withResolvers<ReadyAddresses>();
    const decoder = new StringDecoder("utf8");
    let text = "";
    let found = this.plan.readiness !== "ready-line";
    this.#child.stdout?.on("data", (chunk: Buffer) => {
      this.#log.write(chunk);
      if (found) return;
      text += decoder.write(chunk);
      for (const line of text.split("\n").slice(0, -1)) {
        const addresses = parseReadyLine(line);
        if (addresses === undefined || found) continue;
        found = true;
        resolve(addresses);
      }
      text = text.slice(text.lastIndexOf("\n") + 1).slice(-READY_LINE_MAX_BYTES);
    });
    this.#child.stderr?.on("data", (chunk: Buffer) => this.#log.write(chunk));
    return promise;
  }

  async #followExit(failed: Promise<ProcessExit>): Promise<ProcessExit> {
    const closed = Promise.withResolvers<ProcessExit>();
    this.#child.once("exit", (code, signal) => {
      // What it leaves behind has no parent to answer to; it also holds the output open.
      sendSignal(this.pid, "SIGKILL", true);
      this.#setState("exited");
      this.#events.reaper?.forget(this.pid);
      this.#child.once("close", () => closed.resolve({ code, signal }));
    });
    try {
      return await Promise.race([closed.promise, failed]);
    } catch (error) {
      this.#log.write(Buffer.from(`${error}\n`));
      this.#setState("exited");
      return { code: null, signal: null };
    } finally {
      this.#log.close();
    }
  }

  async #awaitReady(readyLine: Promise<ReadyAddresses>): Promise<ReadyAddresses> {
    const { readiness } = this.plan;
    const shown = readiness === "ready-line" ? readyLine : this.#probe(readiness.url);
    const addresses = await Promise.race([shown, this.exited.then(() => undefined)]);
    if (addresses === undefined || this.state === "exited") {
      const log = `the end of ${this.plan.logPath}:\n${this.logTail()}`;
      throw new Error(`${this.plan.name} ended before it was ready; ${log}`);
    }
    this.#setState("ready");
    return addresses;
  }

  async #probe(url: string): Promise<ReadyAddresses> {
    const { promise, resolve } = Promise.withResolvers<ReadyAddresses>();
    let timer: Timer | undefined;
    const attempt = async (): Promise<void> => {
      if (this.state === "exited") return;
      if (await answers(url, PROBE_TIMEOUT_MS)) resolve({});
      else timer = this.#clock.after(PROBE_EVERY_MS, () => void attempt());
    };
    void this.exited.then(() => timer?.cancel());
    await attempt();
    return promise;
  }

  #setState(state: ProcessState): void {
    if (this.state === "exited" || this.state === state) return;
    this.state = state;
    this.#events.onChange?.(state);
  }
}

/** Whether a GET is answered with a 2xx in time. */
export async function answers(url: string, timeoutMs: number): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(timeoutMs) });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}

function parseReadyLine(line: string): ReadyAddresses | undefined {
  if (!line.startsWith("{")) return undefined;
  try {
    const { ready, http, grpc } = JSON.parse(line) as Record<string, unknown>;
    if (ready !== true) return undefined;
    return {
      ...(typeof http === "string" ? { http } : {}),
      ...(typeof grpc === "string" ? { grpc } : {}),
    };
  } catch {
    return undefined;
  }
}
