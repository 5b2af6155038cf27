// All rollouts: starts them, feeds them what the regions tell, and does what they decide. A state
// is durable before anything is done about it, and doing it again after a crash changes nothing.
import { Fault } from "../../proto/fault.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { NatsLink } from "../../runtime/nats/connection.ts";
import type { Catalogue } from "../catalogue/catalogue.ts";
import type { ModelRecord } from "../catalogue/model-record.ts";
import type { RecordStore } from "../records/record-store.ts";
import { type GatePlan, gatePlanSchema } from "../rounds/plan/gate-plan.ts";
import type { Fleet } from "./fleet.ts";
import { runGate } from "./gate-run.ts";
import { HealthLedger } from "./health-ledger.ts";
import { sightOf } from "./rollout-sight.ts";
import {
  isEnded,
  isForAll,
  pastOf,
  type RolloutReason,
  type RolloutState,
  rolloutSchema,
} from "./rollout-state.ts";
import { type RolloutEvent, stepRollout } from "./rollout-step.ts";
import type { VersionSums } from "./version-sums.ts";

/** How often states move on though nobody tells anything. */
const TICK_MS = 500;
const PREFIX = "rollout.";

export interface RolloutsOptions {
  readonly records: RecordStore;
  readonly catalogue: Catalogue;
  readonly fleet: Fleet;
  readonly nats: Pick<NatsLink, "request">;
  readonly clock: Clock;
  readonly log: Log;
}

export interface RolloutOrder {
  readonly version: string;
  readonly why: RolloutReason;
  readonly plan?: GatePlan;
  /** A campaign has passed the gate already. */
  readonly skipGate: boolean;
}

export class Rollouts {
  readonly #options: RolloutsOptions;
  readonly #ledger = new HealthLedger();
  readonly #open = new Map<string, RolloutState>();
  readonly #gates = new Map<string, AbortController>();
  readonly #listeners = new Set<(state: RolloutState) => void>();
  readonly #stops: (() => void)[] = [];

  constructor(options: RolloutsOptions) {
    this.#options = options;
    for (const state of this.list().filter((one) => !isEnded(one))) this.#take(state);
    this.#stops.push(options.fleet.onChange(() => this.#look()));
    const timer = options.clock.every(TICK_MS, () => this.#look());
    this.#stops.push(() => timer.cancel());
  }

  /** The last rollout of each model, by the model's name. */
  list(): readonly RolloutState[] {
    const records = this.#options.records.list(PREFIX);
    return records.map(({ value }) => rolloutSchema.parse(value));
  }

  /** The model's last rollout; undefined when there was none. */
  of(model: string): RolloutState | undefined {
    const record = this.#options.records.get(PREFIX + model);
    return record === undefined ? undefined : rolloutSchema.parse(record.value);
  }

  /** How a version has done with callers, as far as it was told since this process began. */
  healthOf(version: string): VersionSums {
    return this.#ledger.total(version);
  }

  /**
   * Starts a version on its way to every edge. The one that is on its way already is joined.
   * Faults: `not-found`; `conflict` while another is on its way, or for what is served already.
   */
  start({ version, why, plan, skipGate }: RolloutOrder): RolloutState {
    const { catalogue, clock } = this.#options;
    const { model } = catalogue.version(version);
    const last = this.of(model);
    if (last?.version === version && !isEnded(last)) return last;
    if (last !== undefined && !isEnded(last)) this.#dispatch(model, { kind: "enough" });
    const open = this.#open.get(model);
    if (open !== undefined) {
      throw new Fault(
        "conflict",
        `${open.version} is on its way (${open.phase}): roll it back first`,
      );
    }
    const incumbent = catalogue.model(model).served;
    if (incumbent === null || incumbent === version) {
      throw new Fault("conflict", `${version} is served already`);
    }
    const nowMs = clock.now();
    const before = this.of(model);
    const state: RolloutState = {
      ...{ model, number: (before?.number ?? 0) + 1, version, incumbent, why },
      plan: plan ?? gatePlanSchema.parse({}),
      phase: skipGate ? "canary" : "gating",
      ...{ reason: "", isCondemned: false, startedMs: nowMs, endedMs: null },
      ...{ stage: 0, stageSinceMs: nowMs, settledMs: null, edges: [] },
      ...{ reference: [], measured: [], unsure: [] },
      past: before === undefined ? [] : pastOf(before),
    };
    this.#ledger.begin(version);
    this.#write(state);
    this.#take(state);
    this.#look();
    return this.of(model) ?? state;
  }

  /**
   * Takes back what is on its way, or else returns to the version served before.
   * Faults: `conflict` when there is none.
   */
  rollBack(model: string): ModelRecord {
    const { catalogue } = this.#options;
    if (!this.#open.has(model)) return catalogue.rollback(model);
    this.#dispatch(model, { kind: "roll-back", reason: "rolled back by the operator" });
    return catalogue.model(model);
  }

  /** Somebody is about to have another version served at once, by everybody. */
  supersede(model: string, version: string): void {
    const open = this.#open.get(model);
    if (open === undefined || open.version === version) return;
    this.#dispatch(model, { kind: "supersede", reason: `${version} was rolled out instead` });
  }

  /** Calls with every new state, once it is durable. */
  onState(listener: (state: RolloutState) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /**
   * Resolves once everybody is to serve the version, or it has failed; with the last state known
   * when nobody wants to wait any more.
   */
  decided(model: string, signal: AbortSignal): Promise<RolloutState | undefined> {
    return new Promise((resolve) => {
      const stop = this.onState(() => check());
      const end = () => {
        stop();
        signal.removeEventListener("abort", end);
        resolve(this.of(model));
      };
      const check = () => {
        const state = this.of(model);
        if (state === undefined || isEnded(state) || isForAll(state)) end();
      };
      signal.addEventListener("abort", end, { once: true });
      if (signal.aborted) end();
      else check();
    });
  }

  /** Leaves everything for the next process. */
  close(): void {
    for (const stop of this.#stops) stop();
    for (const gating of this.#gates.values()) gating.abort();
    this.#open.clear();
  }

  #look(): void {
    const { fleet } = this.#options;
    for (const { region, edge } of fleet.edges()) {
      this.#ledger.hear(`${region}/${edge.edge}`, edge.health);
    }
    for (const [model, state] of this.#open) {
      this.#dispatch(model, { kind: "seen", sight: sightOf(state, fleet, this.#ledger) });
    }
  }

  #dispatch(model: string, event: RolloutEvent): void {
    const before = this.#open.get(model);
    if (before === undefined) return;
    const next = stepRollout(before, event, this.#options.clock.now());
    if (next === before) return;
    this.#write(next);
    if (next.phase !== before.phase || next.stage !== before.stage) this.#note(next);
    this.#take(next);
  }

  #write(state: RolloutState): void {
    const { records } = this.#options;
    const key = PREFIX + state.model;
    records.put(key, state, records.get(key)?.revision ?? 0);
  }

  /** Brings the catalogue to what the state says, and goes on from there. */
  #take(state: RolloutState): void {
    const { model, phase } = state;
    if (isEnded(state)) this.#open.delete(model);
    else this.#open.set(model, state);
    if (phase !== "gating") this.#gates.get(model)?.abort();
    else if (!this.#gates.has(model)) this.#measure(state);
    this.#apply(state);
    for (const listener of this.#listeners) listener(state);
    if (phase === "withdrawing") this.#dispatch(model, { kind: "withdrawn" });
  }

  #apply(state: RolloutState): void {
    const { catalogue } = this.#options;
    const { model, version, incumbent, edges, phase, reason } = state;
    switch (phase) {
      case "canary":
      case "wave":
        if (edges.length > 0) catalogue.tryOn(model, { version, edges });
        break;
      case "watching":
        catalogue.serve(version, state.why, true);
        break;
      case "withdrawing":
        if (state.isCondemned) catalogue.judged(version, "rejected", reason);
        catalogue.tryOn(model, null);
        if (catalogue.model(model).served === version) catalogue.serve(incumbent, "rollback", true);
        break;
      case "refused":
        catalogue.judged(version, "rejected", reason);
        break;
      case "superseded":
        catalogue.tryOn(model, null);
        break;
      case "promoted":
        if (state.why === "promote") catalogue.judged(version, "accepted");
        break;
    }
  }

  #measure(state: RolloutState): void {
    const { model, number } = state;
    const controller = new AbortController();
    this.#gates.set(model, controller);
    const { signal } = controller;
    void runGate(state, { ...this.#options, signal })
      .then((event) => {
        if (signal.aborted || this.#open.get(model)?.number !== number) return;
        this.#options.catalogue.evaluated(state.version, event.measured);
        this.#gates.delete(model);
        this.#dispatch(model, event);
      })
      .finally(() => {
        if (this.#gates.get(model) === controller) this.#gates.delete(model);
      });
  }

  #note({ model, version, phase, stage, edges, reason }: RolloutState): void {
    this.#options.log.info(
      { model, version, phase, stage, edges: edges.length, reason },
      "rollout",
    );
  }
}
