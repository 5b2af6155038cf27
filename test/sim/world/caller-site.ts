// The callers of one place: each asks the nearest gateway that answers, moves its stream to the
// next one when that fails (the client's own continuation), and comes back when it is told to.
import { asFault, Fault } from "../../../proto/fault.ts";
import type { GenerateResponse } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import type { Candidate } from "../../../runtime/continuation/candidate.ts";
import {
  type Continuation,
  createContinuation,
} from "../../../runtime/continuation/continuation.ts";
import type { CallContext } from "../../../runtime/inference/backend.ts";
import type { Auditor } from "../audit/auditor.ts";
import type { EventQueue } from "../kernel/event-queue.ts";
import type { TraceHash } from "../kernel/trace-hash.ts";
import type { SimRequest } from "../workload/sim-request.ts";
import type { SimProcess } from "./sim-process.ts";
import type { SimTrunk } from "./sim-trunk.ts";

/** A caller who got nothing yet comes back after a refusal, for so long. */
export const PATIENCE_MS = 30_000;

export interface CallRecord {
  readonly request: SimRequest;
  readonly issuedMs: number;
  hasStarted: boolean;
  firstTokenMs: number;
  endMs: number;
  tokens: number;
  moves: number;
  /** Empty while it runs and after success. */
  fault: string;
}

export interface CallerSiteOptions {
  readonly queue: EventQueue;
  readonly process: SimProcess;
  readonly auditor: Auditor;
  readonly trace: TraceHash;
  /** To each region's gateway, from near to far. */
  readonly gateways: readonly { readonly region: string; readonly trunk: SimTrunk }[];
  /** Between a stream and its caller; a test plants its bugs here. */
  readonly tamper?: ((event: GenerateResponse) => readonly GenerateResponse[]) | undefined;
  readonly onEnd: (record: CallRecord) => void;
}

export class CallerSite {
  readonly #options: CallerSiteOptions;
  readonly #continuation: Continuation;

  constructor(options: CallerSiteOptions) {
    this.#options = options;
    this.#continuation = createContinuation({
      clock: options.process.clock,
      pick: (excluded) => this.#pick(excluded),
    });
    for (const { region, trunk } of options.gateways) {
      trunk.onState((state) => {
        if (state === "down") this.#continuation.moveAway(`${region}/`, "the gateway is gone");
      });
    }
  }

  get trunks(): Iterable<SimTrunk> {
    return this.#options.gateways.map(({ trunk }) => trunk);
  }

  get streams(): number {
    return this.#continuation.active;
  }

  issue(request: SimRequest): void {
    const { queue, auditor, process } = this.#options;
    auditor.issued(request);
    const record: CallRecord = {
      ...{
        request,
        issuedMs: queue.nowMs,
        hasStarted: false,
        firstTokenMs: 0,
        endMs: 0,
        tokens: 0,
        moves: 0,
      },
      fault: "",
    };
    const deadlineMs = process.wallMs + request.timeoutMs;
    this.#try(record, deadlineMs);
  }

  #try(record: CallRecord, deadlineMs: number): void {
    const { request } = record;
    const { queue } = this.#options;
    const abort = new AbortController();
    const context: CallContext = {
      ...{ signal: abort.signal, requestId: String(request.id), visitedRegions: [], deadlineMs },
    };
    const onEvent = (event: GenerateResponse) => {
      const events = this.#options.tamper?.(event);
      if (events === undefined) this.#take(record, event, abort);
      else for (const each of events) this.#take(record, each, abort);
    };
    queue.hasPromises = true;
    this.#continuation.generate(request.message, context, onEvent).then(
      () => this.#end(record, null),
      (thrown: unknown) => this.#failed(record, asFault(thrown), deadlineMs),
    );
  }

  #take(record: CallRecord, response: GenerateResponse, abort: AbortController): void {
    const { auditor, queue } = this.#options;
    const { event } = response;
    auditor.received(record.request, response);
    record.hasStarted = true;
    if (event.case === "finished") record.moves = event.value.moves.length;
    if (event.case !== "tokens") return;
    if (record.tokens === 0) record.firstTokenMs = queue.nowMs;
    record.tokens += event.value.ids.length;
    if (record.tokens < record.request.cancelAtToken) return;
    queue.hasPromises = true;
    abort.abort();
  }

  #failed(record: CallRecord, fault: Fault, deadlineMs: number): void {
    const { queue } = this.#options;
    const backMs = Math.max(fault.retryAfterMs, 100);
    const isRefused = fault.retriable && !record.hasStarted;
    const isPatient = queue.nowMs + backMs - record.issuedMs <= PATIENCE_MS;
    if (!isRefused || !isPatient) this.#end(record, fault);
    else queue.after(backMs, () => this.#try(record, deadlineMs));
  }

  #end(record: CallRecord, fault: Fault | null): void {
    const { auditor, trace, queue, onEnd } = this.#options;
    record.endMs = queue.nowMs;
    record.fault = fault === null ? "" : fault.code;
    auditor.ended(record.request, fault);
    trace.number(record.request.id).number(record.endMs).text(record.fault);
    onEnd(record);
  }

  #pick(excluded: ReadonlySet<string>): Candidate | Fault {
    for (const { region, trunk } of this.#options.gateways) {
      const key = `${region}/`;
      if (trunk.state !== "up" || excluded.has(key)) continue;
      return {
        ...{ key, edge: "", region },
        generate: (request, context, onEvent) => trunk.generate(request, context, onEvent),
      };
    }
    return new Fault("unavailable", "no gateway answers now");
  }
}
