// Watches a simulated mesh for what must never happen, and keeps what it saw. Its rules are about
// what callers get and what edges are made to do; it knows nothing of how the mesh decides.
import type { Fault } from "../../../proto/fault.ts";
import type { GenerateResponse } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { HOPS_MAX } from "../../../region/spill/peer-choice.ts";
import { residencyRefusal } from "../../../runtime/policy/residency.ts";
import { type SimRequest, textOf, tokenAt } from "../workload/sim-request.ts";

export type AuditRule =
  | "one-outcome"
  | "tokens"
  | "text"
  | "truncated"
  | "slots"
  | "residency"
  | "loop"
  | "drained";

export interface Violation {
  readonly rule: AuditRule;
  readonly atMs: number;
  readonly detail: string;
}

/** Violations kept; all are counted. */
const KEPT_MAX = 100;

/** What one caller has got so far. */
interface Receipt {
  tokens: number;
  chars: number;
  /** Text of the delivered ids that has not come yet: must be empty at the end. */
  owed: string;
  hasStarted: boolean;
  hasFinished: boolean;
  outcomes: number;
}

export class Auditor {
  readonly violations: Violation[] = [];
  readonly counts = new Map<AuditRule, number>();
  readonly #nowMs: () => number;
  readonly #jurisdictionsOf: (region: string) => readonly string[];
  readonly #receipts = new Map<number, Receipt>();

  constructor(nowMs: () => number, jurisdictionsOf: (region: string) => readonly string[]) {
    this.#nowMs = nowMs;
    this.#jurisdictionsOf = jurisdictionsOf;
  }

  get isClean(): boolean {
    return this.counts.size === 0;
  }

  get total(): number {
    return [...this.counts.values()].reduce((sum, count) => sum + count, 0);
  }

  /** Requests that were issued and have no outcome. */
  get open(): number {
    return this.#receipts.size;
  }

  issued({ id }: SimRequest): void {
    if (this.#receipts.has(id)) this.#object("one-outcome", `request ${id} was issued twice`);
    this.#receipts.set(id, {
      ...{ tokens: 0, chars: 0, owed: "", hasStarted: false, hasFinished: false, outcomes: 0 },
    });
  }

  /** The caller has received something. */
  received(request: SimRequest, { event }: GenerateResponse): void {
    const receipt = this.#receipts.get(request.id);
    if (receipt === undefined || receipt.hasFinished) {
      this.#object("one-outcome", `request ${request.id} got ${event.case} after its end`);
      return;
    }
    if (event.case === "started") {
      if (receipt.hasStarted) this.#object("one-outcome", `request ${request.id} started twice`);
      receipt.hasStarted = true;
    } else if (event.case === "tokens") {
      const { index, ids, text } = event.value;
      this.#checkIds(request, receipt, index, ids);
      this.#checkText(request, receipt, text);
    } else if (event.case === "finished") {
      this.#checkText(request, receipt, event.value.text);
      receipt.hasFinished = true;
      const { completionTokens } = event.value;
      const wanted = request.outputTokens;
      if (receipt.tokens !== wanted || completionTokens !== wanted || receipt.owed !== "") {
        const got = `${receipt.tokens} tokens, ${completionTokens} counted`;
        this.#object("truncated", `request ${request.id} finished with ${got} of ${wanted}`);
      }
    }
  }

  /** The caller's call has settled; null for success. */
  ended(request: SimRequest, fault: Fault | null): void {
    const receipt = this.#receipts.get(request.id);
    if (receipt === undefined) {
      this.#object("one-outcome", `request ${request.id} ended twice`);
      return;
    }
    if ((fault === null) !== receipt.hasFinished) {
      const what = fault === null ? "succeeded without a last event" : "failed after its last one";
      this.#object("one-outcome", `request ${request.id} ${what}`);
    }
    this.#receipts.delete(request.id);
  }

  /** An edge of the region is asked to serve it. */
  reachedEdge(request: SimRequest, region: string): void {
    const rule = request.message.policy;
    const refusal = residencyRefusal(rule, region, this.#jurisdictionsOf(region));
    if (refusal === null) return;
    this.#object("residency", `request ${request.id} in ${region}: ${refusal}`);
  }

  /** A gateway takes it up; `way` names the regions of this try, the gateway's own last. */
  reachedRegion(request: SimRequest, way: readonly string[]): void {
    if (new Set(way).size !== way.length) {
      this.#object("loop", `request ${request.id} came again: ${way.join(" > ")}`);
    }
    if (way.length > HOPS_MAX + 1) {
      this.#object("loop", `request ${request.id} took too many hops: ${way.join(" > ")}`);
    }
  }

  slotTaken(edge: string, active: number, slots: number): void {
    if (active > slots) this.#object("slots", `${edge} runs ${active} in ${slots} slots`);
  }

  /** At the end, long after the last fault: nothing may be left anywhere. */
  left(what: string, count: number): void {
    if (count !== 0) this.#object("drained", `${count} ${what}`);
  }

  #checkIds(request: SimRequest, receipt: Receipt, index: number, ids: readonly number[]): void {
    if (index !== receipt.tokens) {
      const kind = index < receipt.tokens ? "doubled" : "lost";
      this.#object(
        "tokens",
        `request ${request.id}: token ${index} after ${receipt.tokens}, ${kind}`,
      );
    }
    for (const [at, id] of ids.entries()) {
      const right = tokenAt(request.id, receipt.tokens + at);
      if (id !== right) {
        this.#object("tokens", `request ${request.id}: another token at ${receipt.tokens + at}`);
      }
      receipt.owed += textOf(right);
    }
    receipt.tokens += ids.length;
  }

  #checkText(request: SimRequest, receipt: Receipt, text: string): void {
    if (receipt.owed.startsWith(text)) receipt.owed = receipt.owed.slice(text.length);
    else this.#object("text", `request ${request.id}: wrong text at character ${receipt.chars}`);
    receipt.chars += text.length;
  }

  #object(rule: AuditRule, detail: string): void {
    this.counts.set(rule, (this.counts.get(rule) ?? 0) + 1);
    if (this.violations.length < KEPT_MAX) {
      this.violations.push({ rule, atMs: this.#nowMs(), detail });
    }
  }
}
