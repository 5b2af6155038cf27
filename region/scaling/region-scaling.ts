// How many edges each model of this region should have, kept up to date each second: the shell
// around the decision. Every gateway of the region decides for all of it, from the heartbeats that
// all of them hear and from what each tells the others about the requests it has seen.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type DesiredState, ModelStatus } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import { ModelDemandSchema, ScalingShareSchema } from "../../proto/gen/isthmus/v1/scaling_pb.ts";
import type { RegionId } from "../../proto/ids.ts";
import { subjects } from "../../proto/subjects.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { Metrics } from "../../runtime/metrics.ts";
import type { NatsLink } from "../../runtime/nats/connection.ts";
import type { EdgeRegistry } from "../membership/edge-registry.ts";
import { ColdDesk } from "./cold-desk.ts";
import { DemandCounts } from "./demand-counts.ts";
import type { ModelFacts } from "./model-facts.ts";
import { ModelWatch } from "./model-watch.ts";
import { decideReplicas, type ScalingDecision, ScalingMemory } from "./scaling-decision.ts";
import { ScalingExchange } from "./scaling-exchange.ts";
import { ScalingGauges } from "./scaling-gauges.ts";
import { rulesFor, type ScalingConfig } from "./scaling-rules.ts";
import { StartUpTimes } from "./start-up-times.ts";

const PERIOD_MS = 1000;
/** A process that has just started hasn't heard every edge yet, nor connected to it. */
const SETTLE_MS = 5000;
/** Models watched; those that are desired go first. */
const MODELS_MAX = 256;

export interface RegionScalingOptions {
  readonly region: RegionId;
  readonly instance: string;
  readonly config: ScalingConfig;
  readonly edges: EdgeRegistry;
  readonly nats: Pick<NatsLink, "publish" | "subscribe" | "state">;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

interface Watched {
  readonly watch: ModelWatch;
  readonly memory: ScalingMemory;
  facts: ModelFacts | null;
  decision: ScalingDecision | null;
}

/** A decision with what it was made of. */
export interface ModelScaling {
  readonly model: string;
  readonly facts: ModelFacts;
  readonly decision: ScalingDecision;
}

export class RegionScaling {
  readonly demand: DemandCounts;
  readonly cold: ColdDesk;
  readonly #options: RegionScalingOptions;
  readonly #times = new StartUpTimes();
  readonly #exchange = new ScalingExchange();
  readonly #watched = new Map<string, Watched>();
  readonly #gauges: ScalingGauges;
  readonly #stops: (() => void)[] = [];
  readonly #beganMs: number;
  readonly #incarnation: bigint;
  #sequence = 0n;
  #desired: () => DesiredState | null = () => null;

  constructor(options: RegionScalingOptions) {
    const { config, clock, metrics } = options;
    this.#options = options;
    this.#beganMs = clock.monotonicMs();
    this.#incarnation = BigInt(clock.now());
    this.#gauges = new ScalingGauges(metrics);
    this.demand = new DemandCounts((model) => rulesFor(config, model).ttftTargetMs);
    this.cold = new ColdDesk({
      ...{ bounds: config.hold, times: this.#times, clock },
      onRefused: (model) => this.demand.turnedAway(model),
    });
  }

  /** Watches until `stop`. `desired` is what the mesh should serve. */
  start(desired: () => DesiredState | null): void {
    const { nats, region, instance, clock } = this.#options;
    this.#desired = desired;
    const shares = nats.subscribe(subjects.scaling(region), ({ body }) => this.#hear(body));
    const timer = clock.every(PERIOD_MS, () => {
      this.look();
      this.#tell(region, instance);
    });
    this.#stops.push(
      () => shares.stop(),
      () => timer.cancel(),
    );
  }

  stop(): void {
    for (const stop of this.#stops.splice(0)) stop();
    this.cold.stop();
  }

  /** Whether edges of this region are to serve the model, or have it, or are about to. */
  isWanted(model: string): boolean {
    if (this.#desired()?.models.some((one) => one.model === model)) return true;
    for (const { status, heartbeat } of this.#options.edges.members()) {
      if (status === "dead") continue;
      const state = heartbeat.models.find((one) => one.model === model);
      if (state !== undefined && state.status !== ModelStatus.FAILED) return true;
    }
    return false;
  }

  /** Whether a request may wake a model here though no edge is there at all. */
  get canWake(): boolean {
    const { config } = this.#options;
    if (config.hold.patienceMs === 0) return false;
    const models = this.#desired()?.models ?? [];
    return models.some(({ model }) => rulesFor(config, model).replicasMin === 0);
  }

  /** Why nothing can be said yet; null when it can. */
  get unsettled(): string | null {
    const { nats, clock } = this.#options;
    if (nats.state !== "up") return "the region's NATS is out of reach: edges can't be heard";
    if (clock.monotonicMs() - this.#beganMs >= SETTLE_MS) return null;
    return "this gateway has just started, and may not have heard every edge yet";
  }

  /** As last decided; by name. */
  models(): ModelScaling[] {
    const told: ModelScaling[] = [];
    for (const [model, { facts, decision }] of this.#watched) {
      if (facts !== null && decision !== null) told.push({ model, facts, decision });
    }
    return told.sort((a, b) => (a.model < b.model ? -1 : 1));
  }

  /** Looks at every model and decides; called each second. */
  look(): void {
    const { edges, config } = this.#options;
    const nowMs = edges.nowMs;
    this.#learn(nowMs);
    const models = this.#known();
    for (const model of this.#watched.keys()) {
      if (models.has(model)) continue;
      this.#watched.delete(model);
      this.#gauges.forget(model);
    }
    for (const model of models) {
      const watched = this.#watched.get(model) ?? fresh(nowMs);
      this.#watched.set(model, watched);
      watched.facts = this.#factsOf(model, watched.watch, nowMs);
      // What it would say before it has heard every edge would be held against it for minutes.
      if (this.unsettled !== null) continue;
      const rules = rulesFor(config, model);
      const before = watched.decision?.replicas;
      watched.decision = decideReplicas(watched.memory, watched.facts, rules, nowMs);
      this.#announce(model, watched.decision, before);
      this.#show(model, watched.decision, nowMs);
    }
  }

  /** What edges say of how far they are teaches how long a start takes. */
  #learn(nowMs: number): void {
    const { edges } = this.#options;
    this.#times.keepOnly(
      [...edges.members()].flatMap(({ edge, status, heartbeat }) => {
        if (status === "dead" || status === "leaving") return [];
        const process = `${edge}#${heartbeat.incarnation}`;
        const isServing = status === "ready";
        for (const state of servedFirst(heartbeat.models)) {
          if (isServing || state.status !== ModelStatus.READY) {
            this.#times.seen(process, state.model, state, nowMs);
          }
        }
        return [process];
      }),
    );
  }

  #known(): Set<string> {
    const models = new Set<string>();
    const add = (model: string) => void (models.size < MODELS_MAX && models.add(model));
    for (const { model } of this.#desired()?.models ?? []) add(model);
    for (const model of this.cold.models()) add(model);
    for (const { status, heartbeat } of this.#options.edges.members()) {
      if (status === "dead") continue;
      for (const { model } of heartbeat.models) add(model);
    }
    return models;
  }

  #factsOf(model: string, watch: ModelWatch, nowMs: number): ModelFacts {
    const { edges } = this.#options;
    const own = { held: this.cold.count(model), ...this.demand.count(model) };
    const { held, routed, late, turnedAway } = this.#exchange.demand(model, own, nowMs);
    const best = edges.table.summary(model, nowMs)?.best;
    const idleTtftMs = this.demand.readMs(model) || (best ? best.ttftMs - best.queueMs : 0);
    return {
      ...watch.look(model, edges.members(), nowMs),
      ...{ held, routed, late, turnedAway, idleTtftMs },
      startUpMs: this.#times.estimate(model).ms,
    };
  }

  #announce(model: string, { replicas, reason }: ScalingDecision, before?: number): void {
    if (replicas === before) return;
    this.#options.log.info({ model, replicas, before, reason }, "edges that a model should have");
  }

  #show(model: string, { replicas }: ScalingDecision, nowMs: number): void {
    const best = this.#options.edges.table.summary(model, nowMs)?.best;
    const waiting = this.cold.count(model);
    const wakeMs = waiting > 0 ? this.#times.remainingMs(model, nowMs) : 0;
    this.#gauges.show(model, {
      replicas,
      waiting,
      queueWaitMs: best?.queueMs ?? wakeMs,
      predictedTtftMs: this.demand.predictedTtftMs(model, nowMs) ?? best?.ttftMs ?? wakeMs,
    });
  }

  #tell(region: string, instance: string): void {
    const names = new Set([...this.demand.models(), ...this.cold.models()]);
    const models = [...names].slice(0, MODELS_MAX).map((model) => {
      const { routed, late, turnedAway } = this.demand.count(model);
      return create(ModelDemandSchema, {
        ...{ model, held: this.cold.count(model), routed: BigInt(routed) },
        ...{ late: BigInt(late), turnedAway: BigInt(turnedAway) },
      });
    });
    this.#sequence += 1n;
    const identity = { region, instance, incarnation: this.#incarnation, sequence: this.#sequence };
    const share = create(ScalingShareSchema, { ...identity, models });
    this.#options.nats.publish(
      subjects.scaling(this.#options.region),
      toBinary(ScalingShareSchema, share),
    );
  }

  #hear(body: Uint8Array): void {
    const { region, instance, log, edges } = this.#options;
    let why: string | null;
    try {
      const share = fromBinary(ScalingShareSchema, body);
      if (share.instance === instance) return;
      const isOurs = share.region === region;
      why = isOurs ? this.#exchange.take(share, edges.nowMs) : "of another region";
    } catch {
      why = "not a ScalingShare";
    }
    if (why !== null) log.debug({ why }, "a share of the demand was not believed");
  }
}

function fresh(nowMs: number): Watched {
  const memory = new ScalingMemory(nowMs);
  return { watch: new ModelWatch(), memory, facts: null, decision: null };
}

/** One entry for each model, the one that it is served by. */
function servedFirst<T extends { readonly model: string }>(states: readonly T[]): Iterable<T> {
  const first = new Map<string, T>();
  for (const state of states) if (!first.has(state.model)) first.set(state.model, state);
  return first.values();
}
