// Carries one campaign on: every event goes through the functional core, the new state is durable
// before anything is done about it, and then whatever the state asks for is under way.
import { Fault } from "../../proto/fault.ts";
import type { RecordStore } from "../records/record-store.ts";
import { type Activity, activitiesOf, activityKey } from "./activity.ts";
import { type ActivityRunOptions, runActivity } from "./activity-run.ts";
import type { CampaignEvent } from "./campaign-event.ts";
import { type CampaignState, campaignSchema, isOver } from "./campaign-state.ts";
import { step } from "./campaign-step.ts";
import { noteLineage } from "./lineage-notes.ts";

export interface CampaignRunnerOptions extends ActivityRunOptions {
  readonly records: RecordStore;
  /** Told of every new state, once it is durable. */
  readonly onState: (campaign: CampaignState) => void;
}

export class CampaignRunner {
  readonly id: string;
  readonly #options: CampaignRunnerOptions;
  readonly #running = new Map<string, AbortController>();
  #state: CampaignState;
  #stopped = false;

  /** Takes up a campaign where its record stands. */
  constructor(id: string, options: CampaignRunnerOptions) {
    this.id = id;
    this.#options = options;
    const record = options.records.get(campaignKey(id));
    if (record === undefined) throw new Fault("not-found", `there is no campaign ${id}`);
    this.#state = campaignSchema.parse(record.value);
    noteLineage(options.catalogue, this.#state);
    options.privacy.settle(this.#state);
    this.#pursue();
  }

  get state(): CampaignState {
    return this.#state;
  }

  dispatch(event: CampaignEvent): void {
    if (this.#stopped) return;
    const { clock, records, log, catalogue, privacy, onState } = this.#options;
    const next = step(this.#state, event, clock.now());
    if (next === this.#state) return;
    const before = this.#state;
    this.#state = next;
    writeCampaign(records, next);
    logChange(log, before, next);
    noteLineage(catalogue, next);
    privacy.settle(next);
    onState(next);
    this.#pursue();
  }

  /** Leaves everything for the next process. */
  stop(): void {
    this.#stopped = true;
    for (const controller of this.#running.values()) controller.abort();
    this.#running.clear();
  }

  /** Starts what the state asks for and isn't under way; ends what it no longer asks for. */
  #pursue(): void {
    const wanted = new Map(activitiesOf(this.#state).map((one) => [activityKey(one), one]));
    for (const [key, controller] of this.#running) {
      if (wanted.has(key)) continue;
      this.#running.delete(key);
      controller.abort();
    }
    for (const [key, activity] of wanted) {
      if (!this.#running.has(key)) this.#start(key, activity);
    }
  }

  #start(key: string, activity: Activity): void {
    const controller = new AbortController();
    this.#running.set(key, controller);
    const emit = (event: CampaignEvent) => {
      if (!controller.signal.aborted) this.dispatch(event);
    };
    const scope = { ...this.#options, campaign: this.#state, signal: controller.signal, emit };
    runActivity(activity, scope).catch((thrown: unknown) => {
      if (controller.signal.aborted) return;
      // An activity reports its failures as events: anything else is a bug, and ends the process.
      queueMicrotask(() => {
        throw thrown;
      });
    });
  }
}

export function campaignKey(id: string): string {
  return `campaign.${id}`;
}

export function roundKey(id: string, round: number): string {
  return `round.${id}.${round}`;
}

/** Stores a state, and the round that ended with it as a record of its own. */
export function writeCampaign(records: RecordStore, campaign: CampaignState): void {
  const { last } = campaign;
  if (last !== null && records.get(roundKey(campaign.id, last.number)) === undefined) {
    records.put(roundKey(campaign.id, last.number), last, 0);
  }
  const key = campaignKey(campaign.id);
  records.put(key, campaign, records.get(key)?.revision ?? 0);
}

function logChange(
  log: CampaignRunnerOptions["log"],
  before: CampaignState,
  after: CampaignState,
): void {
  const isNews =
    before.phase !== after.phase ||
    before.round?.phase !== after.round?.phase ||
    before.past.length !== after.past.length;
  if (!isNews) return;
  const { id: campaign, phase, reason, round, past } = after;
  const ended = past.length > before.past.length ? past.at(-1) : undefined;
  const outcome = ended && { round: ended.number, phase: ended.phase, reason: ended.reason };
  const current = round && { number: round.number, phase: round.phase };
  log.info(
    { campaign, phase, reason, round: current, ended: outcome, over: isOver(after) },
    "round",
  );
}
