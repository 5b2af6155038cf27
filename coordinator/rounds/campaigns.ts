// All campaigns: starts them, takes them up again after a restart, passes on what the regions say,
// and tells a region when its last word is safe here.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { asFault, Fault } from "../../proto/fault.ts";
import {
  type RegionRoundStatus,
  RegionRoundStatusSchema,
  RoundOfferSchema,
} from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { namePattern, regionId } from "../../proto/ids.ts";
import { subjects } from "../../proto/subjects.ts";
import type { NatsLink } from "../../runtime/nats/connection.ts";
import { RoundPrivacy } from "../privacy/round-privacy.ts";
import type { RecordStore } from "../records/record-store.ts";
import type { ActivityRunOptions } from "./activity-run.ts";
import { type CampaignRequest, planCampaign } from "./campaign-plan.ts";
import { CampaignRunner, roundKey, writeCampaign } from "./campaign-runner.ts";
import {
  type CampaignState,
  campaignSchema,
  isOver,
  type RoundState,
  roundSchema,
} from "./campaign-state.ts";
import type { CampaignTrigger } from "./campaign-trigger.ts";
import { reportOf } from "./round-messages.ts";

const CAMPAIGNS_MAX = 10_000;
const TAKEN_TIMEOUT_MS = 5_000;

export interface CampaignsOptions extends Omit<ActivityRunOptions, "nats" | "privacy"> {
  readonly records: RecordStore;
  readonly nats: NatsLink;
  /** Regions that take part. */
  readonly regions: readonly string[];
}

export type CampaignListener = (campaign: CampaignState) => void;

export class Campaigns {
  readonly privacy: RoundPrivacy;
  readonly #options: CampaignsOptions;
  readonly #runners = new Map<string, CampaignRunner>();
  readonly #listeners = new Set<CampaignListener>();
  readonly #subscription: { stop(): void };
  readonly #unwatch: () => void;
  /** Being told just now. */
  readonly #taken = new Set<string>();

  constructor(options: CampaignsOptions) {
    this.#options = options;
    this.privacy = new RoundPrivacy(options);
    for (const { id } of this.list().filter((campaign) => !isOver(campaign))) this.#run(id);
    this.#subscription = options.nats.subscribe(subjects.roundStatuses, async ({ body }) => {
      await this.#onStatus(fromBinary(RegionRoundStatusSchema, body));
    });
    this.#unwatch = options.rollouts.onState(({ phase, version, reason }) => {
      if (phase !== "rolled-back") return;
      for (const runner of this.#runners.values()) {
        runner.dispatch({ kind: "withdrawn", version, reason });
      }
    });
  }

  /** Newest first. */
  list(): readonly CampaignState[] {
    return this.#options.records
      .list("campaign.")
      .map(({ value }) => campaignSchema.parse(value))
      .sort((a, b) => b.createdMs - a.createdMs || (a.id < b.id ? 1 : -1));
  }

  /** Those under way. */
  open(): readonly CampaignState[] {
    return [...this.#runners.values()].map(({ state }) => state);
  }

  /** Faults: `not-found`. */
  get(id: string): CampaignState {
    const record = this.#options.records.get(`campaign.${id}`);
    if (record === undefined) throw new Fault("not-found", `there is no campaign ${id}`);
    return campaignSchema.parse(record.value);
  }

  /** One round, whole. Faults: `not-found`. */
  round(id: string, number: number): RoundState {
    const { round } = this.get(id);
    if (round?.number === number) return round;
    const record = this.#options.records.get(roundKey(id, number));
    if (record === undefined) throw new Fault("not-found", `${id} has no round ${number}`);
    return roundSchema.parse(record.value);
  }

  /**
   * Starts a campaign; its first step is durable on return.
   * Faults: `conflict` while the model has one under way, and those of `planCampaign`.
   */
  start(request: CampaignRequest, trigger: CampaignTrigger = { kind: "operator" }): CampaignState {
    const { catalogue, clock, records, regions } = this.#options;
    const open = this.open().find(({ model }) => model === request.model);
    if (open !== undefined) {
      throw new Fault("conflict", `${open.id} is under way for ${request.model}; stop it first`);
    }
    if (records.list("campaign.").length >= CAMPAIGNS_MAX) {
      throw new Fault("conflict", `at most ${CAMPAIGNS_MAX} campaigns are kept`);
    }
    const id = this.#freeId(request.model, clock.now());
    const campaign = planCampaign(id, request, {
      ...{ catalogue, regions, trigger },
      nowMs: clock.now(),
    });
    this.privacy.begin(campaign);
    writeCampaign(records, campaign);
    this.#tell(campaign);
    this.#run(id);
    return campaign;
  }

  /** Ends a campaign before its time; what it has promoted stays served. */
  stopCampaign(id: string, reason: string): CampaignState {
    this.#runners.get(id)?.dispatch({ kind: "stopped", reason });
    return this.get(id);
  }

  /** Calls with every new state of any campaign. */
  onState(listener: CampaignListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Leaves everything for the next process. */
  close(): void {
    this.#subscription.stop();
    this.#unwatch();
    for (const runner of this.#runners.values()) runner.stop();
    this.#runners.clear();
  }

  #run(id: string): void {
    const onState = (campaign: CampaignState) => {
      if (isOver(campaign)) this.#runners.delete(id);
      this.#tell(campaign);
    };
    this.#runners.set(
      id,
      new CampaignRunner(id, { ...this.#options, privacy: this.privacy, onState }),
    );
  }

  #tell(campaign: CampaignState): void {
    for (const listener of this.#listeners) listener(campaign);
  }

  async #onStatus(status: RegionRoundStatus): Promise<void> {
    if (!namePattern.test(status.campaign) || !namePattern.test(status.region)) return;
    this.#runners.get(status.campaign)?.dispatch({ kind: "reported", report: reportOf(status) });
    if (!status.done || !this.#isSettled(status)) return;
    const key = `${status.campaign}/${status.round}/${status.region}`;
    if (this.#taken.has(key)) return;
    this.#taken.add(key);
    try {
      const { campaign, round } = status;
      const body = toBinary(RoundOfferSchema, create(RoundOfferSchema, { campaign, round }));
      const subject = subjects.roundTaken(regionId(status.region));
      await this.#options.nats.request(subject, body, TAKEN_TIMEOUT_MS);
    } catch (thrown) {
      // It goes on telling, and so shall we.
      this.#options.log.debug({ region: status.region, reason: asFault(thrown).message }, "taken");
    } finally {
      this.#taken.delete(key);
    }
  }

  /** Whether the region's last word is of no more use, or is durable here with all it names. */
  #isSettled({ campaign, round, region }: RegionRoundStatus): boolean {
    if (this.#options.records.get(`campaign.${campaign}`) === undefined) return false;
    const current = this.get(campaign).round;
    if (current === null || current.number !== round) return true;
    const phase = current.regions.find((one) => one.region === region)?.phase;
    return phase === "pulled" || phase === "excluded";
  }

  #freeId(model: string, nowMs: number): string {
    const slug = model
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, "-")
      .replace(/^-|-$/g, "")
      .slice(0, 40);
    const stamp = new Date(nowMs).toISOString().replace(/\D/g, "").slice(2, 14);
    for (let n = 1; ; n += 1) {
      const id = `${slug || "model"}-${stamp}${n === 1 ? "" : `-${n}`}`;
      if (this.#options.records.get(`campaign.${id}`) === undefined) return id;
    }
  }
}
