// A place in the mesh that a process fills: the process of the moment, whether it serves, and what
// happens when it ends by itself.
import { type Clock, systemClock, type Timer } from "../../runtime/clock.ts";
import type { MeshProcess, MeshRole } from "./mesh-state.ts";
import type { ReaperLink } from "./reaper-link.ts";
import {
  answers,
  type ProcessExit,
  type ProcessPlan,
  SupervisedProcess,
} from "./supervised-process.ts";

const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 15_000;
/** One that served this long before it ended starts the backoff anew. */
const STABLE_AFTER_MS = 60_000;
const SERVING_PROBE_EVERY_MS = 100;
const SERVING_PROBE_TIMEOUT_MS = 2_000;

export interface MemberSpec {
  readonly role: MeshRole;
  readonly name: string;
  readonly region: string;
  readonly http?: string;
  readonly grpc?: string;
  readonly nats?: string;
  readonly plan: ProcessPlan;
  /** Asked, after the process says that it is ready, until it answers 200: an edge's model. */
  readonly servingUrl?: string;
}

export interface MemberEvents {
  readonly reaper: ReaperLink;
  readonly restart: boolean;
  readonly clock?: Clock;
  /** Something to write into mesh.json changed. */
  readonly onChange: () => void;
  /** It ended without being told to; `againInMs` when it will be started again. */
  readonly onEnd: (name: string, exit: ProcessExit, againInMs: number | undefined) => void;
}

export class MeshMember {
  readonly spec: MemberSpec;
  serving = false;
  readonly #events: MemberEvents;
  readonly #clock: Clock;
  #process: SupervisedProcess | undefined;
  /** Settles once a process that was told to end has ended. */
  #ending: Promise<unknown> = Promise.resolve();
  #stopping = false;
  #backoffMs = BACKOFF_FIRST_MS;
  #again: Timer | undefined;

  constructor(spec: MemberSpec, events: MemberEvents) {
    this.spec = spec;
    this.#events = events;
    this.#clock = events.clock ?? systemClock;
  }

  get running(): boolean {
    return this.#process !== undefined && this.#process.state !== "exited";
  }

  /** Its line in mesh.json, while it runs. */
  get entry(): MeshProcess | undefined {
    if (this.#process === undefined || !this.running) return undefined;
    const { role, name, region, http, grpc, nats } = this.spec;
    return {
      role,
      name,
      region,
      pid: this.#process.pid,
      ...(http === undefined ? {} : { http }),
      ...(grpc === undefined ? {} : { grpc }),
      ...(nats === undefined ? {} : { nats }),
    };
  }

  /** Starts the process unless it runs; resolves once it serves, rejects when it ends before. */
  async start(): Promise<void> {
    await this.#ending;
    if (this.running) return;
    this.#again?.cancel();
    this.#stopping = false;
    const process = new SupervisedProcess(this.spec.plan, { reaper: this.#events.reaper });
    this.#process = process;
    this.serving = false;
    this.#events.onChange();
    const startedMs = this.#clock.monotonicMs();
    void process.exited.then((exit) => this.#ended(process, exit, startedMs));
    await process.ready;
    await this.#untilServing(process);
    this.serving = true;
    this.#events.onChange();
  }

  /** Sends a signal; for one that ends the process, returns when it has ended. */
  async kill(signal: NodeJS.Signals): Promise<void> {
    if (this.#process === undefined) return;
    const sent = this.#process.signal(signal);
    if (!sent || (signal !== "SIGKILL" && signal !== "SIGTERM")) return;
    this.#ending = this.#process.exited;
    await this.#ending;
  }

  /** Ends it for good: gently at first. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#again?.cancel();
    await this.#process?.stop();
  }

  forceStop(): void {
    this.#stopping = true;
    this.#again?.cancel();
    this.#process?.forceStop();
  }

  async #untilServing(process: SupervisedProcess): Promise<void> {
    const url = this.spec.servingUrl;
    if (url === undefined) return;
    while (process.state !== "exited") {
      if (await answers(url, SERVING_PROBE_TIMEOUT_MS)) return;
      await new Promise<void>((resolve) => this.#clock.after(SERVING_PROBE_EVERY_MS, resolve));
    }
    const log = `the end of ${process.plan.logPath}:\n${process.logTail()}`;
    throw new Error(`${this.spec.name} ended before it served; ${log}`);
  }

  #ended(process: SupervisedProcess, exit: ProcessExit, startedMs: number): void {
    if (this.#process !== process) return;
    this.serving = false;
    this.#events.onChange();
    if (this.#stopping) return;
    if (!this.#events.restart) {
      this.#events.onEnd(this.spec.name, exit, undefined);
      return;
    }
    const ranMs = this.#clock.monotonicMs() - startedMs;
    if (ranMs > STABLE_AFTER_MS) this.#backoffMs = BACKOFF_FIRST_MS;
    const againInMs = this.#backoffMs;
    this.#backoffMs = Math.min(this.#backoffMs * 2, BACKOFF_MAX_MS);
    this.#events.onEnd(this.spec.name, exit, againInMs);
    this.#again = this.#clock.after(againInMs, () => {
      this.start().catch(() => {}); // its end was told by onEnd, which also schedules the next
    });
  }
}
