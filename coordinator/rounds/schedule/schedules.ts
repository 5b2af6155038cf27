// Starts campaigns by themselves: looks every second at what is due and at who drifts. A start is
// durable with the campaign; what came of a turn is durable before the next one is looked at.
import { asFault, Fault } from "../../../proto/fault.ts";
import type { Clock } from "../../../runtime/clock.ts";
import type { Log } from "../../../runtime/log.ts";
import type { Catalogue } from "../../catalogue/catalogue.ts";
import type { RecordStore } from "../../records/record-store.ts";
import type { Fleet } from "../../rollout/fleet.ts";
import { campaignRequestSchema } from "../campaign-plan.ts";
import type { CampaignTrigger } from "../campaign-trigger.ts";
import type { Campaigns } from "../campaigns.ts";
import { type DriftingEdge, driftingEdges } from "./drifting-edges.ts";
import { decideSchedule, type ScheduleSight } from "./schedule-decision.ts";
import {
  nextDueMs,
  type Schedule,
  type ScheduleRequest,
  scheduleRequestSchema,
  scheduleSchema,
} from "./schedule-record.ts";

const LOOK_MS = 1_000;

export interface SchedulesOptions {
  readonly records: RecordStore;
  readonly catalogue: Catalogue;
  readonly campaigns: Campaigns;
  readonly fleet: Fleet;
  readonly clock: Clock;
  readonly log: Log;
}

/** A round that would do the model good. */
export interface RoundSuggestion {
  readonly model: string;
  readonly edges: readonly DriftingEdge[];
}

export class Schedules {
  readonly #options: SchedulesOptions;
  readonly #timer: { cancel(): void };
  /** Models whose drift was told in the log. */
  readonly #told = new Set<string>();

  constructor(options: SchedulesOptions) {
    this.#options = options;
    this.#timer = options.clock.every(LOOK_MS, () => this.look());
  }

  close(): void {
    this.#timer.cancel();
  }

  /** By model; those taken back are left out. */
  list(): readonly Schedule[] {
    return this.#options.records
      .list("schedule.")
      .map(({ value }) => scheduleSchema.parse(value))
      .filter(({ removed }) => !removed);
  }

  /** Faults: `not-found`. */
  get(model: string): Schedule {
    const found = this.list().find((schedule) => schedule.model === model);
    if (found === undefined) throw new Fault("not-found", `${model} has no schedule`);
    return found;
  }

  /**
   * Sets a model's schedule in place of the one before; by the clock it is due one period from now.
   * Faults: `model-not-found`, `invalid-argument` for a request that no campaign could have.
   */
  set(name: string, wanted: ScheduleRequest): Schedule {
    const { catalogue, clock } = this.#options;
    const { model } = catalogue.model(name);
    requestOf(model, wanted.request);
    if (wanted.every === null && wanted.onDrift === "ignore") {
      throw new Fault("invalid-argument", "a schedule needs a period, or an answer to drift");
    }
    const nowMs = clock.now();
    const nextMs = wanted.every === null ? null : nowMs + wanted.every;
    const last = this.list().find((schedule) => schedule.model === model)?.last ?? null;
    return this.#write({ ...wanted, model, createdMs: nowMs, nextMs, last, removed: false });
  }

  /** Starts what was started just now again and again; keeps the answer to drift. */
  repeat(model: string, every: number, { model: _, ...request }: Schedule["request"]): Schedule {
    const known = this.list().find((schedule) => schedule.model === model);
    const { onDrift, driftingEdges, cooldownMs } = known ?? scheduleRequestSchema.parse({});
    return this.set(model, { every, onDrift, driftingEdges, cooldownMs, request });
  }

  /** Takes a schedule back; a campaign that it has started goes on. Faults: `not-found`. */
  remove(model: string): Schedule {
    return this.#write({ ...this.get(model), removed: true });
  }

  /** Rounds that drift calls for and nothing starts by itself. */
  suggestions(): readonly RoundSuggestion[] {
    const { campaigns, catalogue, fleet } = this.#options;
    const busy = new Set(campaigns.open().map(({ model }) => model));
    const answers = new Map(this.list().map((schedule) => [schedule.model, schedule.onDrift]));
    const served = new Set(catalogue.models().map(({ model }) => model));
    return [...driftingEdges(fleet.edges())]
      .filter(([model]) => served.has(model) && !busy.has(model))
      .filter(([model]) => (answers.get(model) ?? "suggest") === "suggest")
      .map(([model, edges]) => ({ model, edges }));
  }

  /** Starts what is due. */
  look(): void {
    const drifting = driftingEdges(this.#options.fleet.edges());
    for (const schedule of this.list()) {
      const sight = this.#sightOf(schedule, drifting.get(schedule.model) ?? []);
      const decision = decideSchedule(schedule, sight);
      if (decision.kind === "skip") this.#ended(schedule, "schedule", null, decision.reason);
      if (decision.kind === "start") this.#start(schedule, decision.trigger);
    }
    this.#tellDrift();
  }

  #start(schedule: Schedule, trigger: CampaignTrigger): void {
    const { campaigns, log } = this.#options;
    const { model, request } = schedule;
    const why = trigger.kind === "drift" ? "drift" : "schedule";
    try {
      const known = this.#startedBefore(model, trigger);
      const id = known ?? campaigns.start(requestOf(model, request), trigger).id;
      log.info({ model, campaign: id, why }, "rounds start by themselves");
      this.#ended(schedule, why, id, "");
    } catch (thrown) {
      const { message } = asFault(thrown);
      log.warn({ model, why, reason: message }, "rounds could not start by themselves");
      this.#ended(schedule, why, null, message);
    }
  }

  /** The campaign of this very turn, started before a crash that left the schedule behind. */
  #startedBefore(model: string, trigger: CampaignTrigger): string | undefined {
    if (trigger.kind !== "schedule") return undefined;
    return this.#options.campaigns.list().find((campaign) => {
      const { kind } = campaign.trigger;
      return (
        campaign.model === model && kind === "schedule" && campaign.trigger.dueMs === trigger.dueMs
      );
    })?.id;
  }

  #ended(
    schedule: Schedule,
    why: "schedule" | "drift",
    campaign: string | null,
    reason: string,
  ): void {
    const atMs = this.#options.clock.now();
    const { every, nextMs, last } = schedule;
    // Drift that can't be answered is tried again each second: it is written once.
    const isKnown = campaign === null && last?.campaign === null && last.reason === reason;
    if (why === "drift" && isKnown) return;
    const next = every === null || nextMs === null ? nextMs : nextDueMs(nextMs, every, atMs);
    this.#write({ ...schedule, nextMs: next, last: { atMs, why, campaign, reason } });
  }

  #sightOf({ model }: Schedule, drifting: readonly DriftingEdge[]): ScheduleSight {
    const { campaigns, clock } = this.#options;
    const open = campaigns.open().find((campaign) => campaign.model === model)?.id ?? null;
    // Only drift asks when the last one ended; reading all records each second would be a waste.
    const mine = drifting.length === 0 ? [] : campaigns.list().filter((one) => one.model === model);
    const ended = mine.map(({ endedMs }) => endedMs ?? 0);
    return {
      nowMs: clock.now(),
      open,
      endedMs: ended.length === 0 ? null : Math.max(...ended),
      drifting,
    };
  }

  #tellDrift(): void {
    const suggestions = this.suggestions();
    for (const { model, edges } of suggestions) {
      if (this.#told.has(model)) continue;
      const names = edges.map(({ edge }) => edge);
      this.#options.log.warn({ model, edges: names }, "inputs have drifted: a round is suggested");
    }
    this.#told.clear();
    for (const { model } of suggestions) this.#told.add(model);
  }

  #write(schedule: Schedule): Schedule {
    const { records } = this.#options;
    const key = `schedule.${schedule.model}`;
    records.put(key, schedule, records.get(key)?.revision ?? 0);
    return schedule;
  }
}

/** Faults: `invalid-argument`. */
function requestOf(model: string, request: Schedule["request"]) {
  const read = campaignRequestSchema.safeParse({ ...request, model });
  if (read.success) return read.data;
  const { path = [], message = "it can't be read" } = read.error.issues[0] ?? {};
  throw new Fault("invalid-argument", `request.${path.join(".")}: ${message}`, {
    param: ["request", ...path].join("."),
  });
}
