// The regional half of federated rounds: takes offers, invites edges, takes their deltas, sums
// them, and tells the coordinator until it has taken the result.
import { join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Fault } from "../../proto/fault.ts";
import { RebuildReplySchema, RebuildRequestSchema } from "../../proto/gen/isthmus/v1/removal_pb.ts";
import {
  type RegionRoundStatus,
  RegionRoundStatusSchema,
  type RoundOffer,
  RoundOfferSchema,
  TrainProgressSchema,
} from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { sha256 } from "../../proto/ids.ts";
import { subjects } from "../../proto/subjects.ts";
import type { Metrics } from "../../runtime/metrics.ts";
import type { Received } from "../../runtime/nats/connection.ts";
import { type ArtifactStore, createArtifactStore } from "../../sync/artifact/artifact-store.ts";
import { type Fence, noFence } from "../lease/fence.ts";
import { carriedDeltas } from "./carried-deltas.ts";
import { countedDeltas } from "./counted-deltas.ts";
import type { DeltaInbox } from "./delta-inbox.ts";
import { retentionDefaults } from "./delta-retention.ts";
import { KeyPins } from "./key-pins.ts";
import { MaskingDesk } from "./masking-desk.ts";
import { createMeteredInbox } from "./metered-inbox.ts";
import { faultOfOffer } from "./offer-check.ts";
import type { RegionRoundsOptions } from "./region-rounds-options.ts";
import type { PartialSources } from "./regional-partial.ts";
import { RoundArchive } from "./round-archive.ts";
import { candidatesOf } from "./round-candidates.ts";
import type { RoundEffect } from "./round-decision.ts";
import { dropFilesOf, pinFilesOf } from "./round-files.ts";
import { rebuildPartial } from "./round-rebuild.ts";
import type { RoundRunner } from "./round-runner.ts";
import { statusOfRefusedOffer, statusOfRound } from "./round-status.ts";
import { tellToTrain } from "./train-dispatch.ts";

const TICK_MS = 250;
const STATUS_EVERY_MS = 1_000;
const PRUNE_EVERY_MS = 60_000;

export interface RegionRounds {
  /** Takes an offer, new or told again; resolves with the round's state once it is durable. */
  offer(offer: RoundOffer): Promise<RegionRoundStatus>;
  /** The coordinator has the round's last word. */
  take(campaign: string, round: number): Promise<void>;
  round(campaign: string, round: number): RoundRunner | undefined;
  rounds(): readonly RoundRunner[];
  readonly inbox: DeltaInbox;
  stop(): Promise<void>;
}

/** Reads back what a former process left, then takes part in rounds until `stop`. */
export async function createRegionRounds(options: RegionRoundsOptions): Promise<RegionRounds> {
  const pins = await KeyPins.open(options.dir, options.fence);
  const deltas = createArtifactStore({ dir: join(options.dir, "deltas") });
  const rounds = new Rounds(options, pins, deltas);
  await rounds.start();
  return rounds;
}

class Rounds implements RegionRounds {
  readonly inbox: DeltaInbox;
  readonly #options: RegionRoundsOptions;
  readonly #fence: Fence;
  readonly #pins: KeyPins;
  readonly #deltas: ArtifactStore;
  readonly #masking: MaskingDesk;
  readonly #stops: (() => void)[] = [];
  readonly #working = new Set<Promise<void>>();
  readonly #late: ReturnType<Metrics["counter"]>;
  #archive!: RoundArchive;
  /** Offers come one after another: the same one may be told twice at once. */
  #offers: Promise<unknown> = Promise.resolve();

  constructor(options: RegionRoundsOptions, pins: KeyPins, deltas: ArtifactStore) {
    this.#options = options;
    this.#fence = options.fence ?? noFence;
    this.#pins = pins;
    this.#deltas = deltas;
    this.#masking = new MaskingDesk({ ...options, dir: join(options.dir, "masking") });
    this.#late = options.metrics.counter({
      name: "isthmus_round_deltas_late_total",
      help: "Deltas that came when their round had closed without them.",
    });
    this.inbox = createMeteredInbox({
      ...options,
      epoch: this.#fence.epoch,
      deltas,
      pins,
      onLeft: (done) => this.#run("letting go of a delta", done),
    });
  }

  async start(): Promise<void> {
    const { clock, dir, nats, region } = this.#options;
    this.#archive = await RoundArchive.open(join(dir, "rounds"), {
      clock,
      fence: this.#fence,
      kept: this.#options.kept ?? retentionDefaults,
      onForgotten: (runner) => dropFilesOf(runner, this.#deltas),
      perform: (effect, runner) => this.#perform(effect, runner),
    });
    const stores = { deltas: this.#deltas, store: this.#options.store };
    for (const runner of this.#archive.list()) pinFilesOf(runner, stores);
    const subscriptions = [
      nats.subscribe(subjects.roundOffer(region), (message) => this.#onOffer(message)),
      nats.subscribe(subjects.roundTaken(region), (message) => this.#onTaken(message)),
      nats.subscribe(subjects.progresses(region), (message) => this.#onProgress(message)),
      nats.subscribe(subjects.roundRebuild(region), (message) => this.#onRebuild(message)),
    ];
    this.#stops.push(...subscriptions.map((subscription) => () => subscription.stop()));
    const ticks = clock.every(TICK_MS, () => this.#tick());
    const told = clock.every(STATUS_EVERY_MS, () => this.#publishAll());
    const pruning = clock.every(PRUNE_EVERY_MS, () => {
      this.#run("forgetting old rounds", this.#archive.prune());
    });
    this.#stops.push(
      () => ticks.cancel(),
      () => told.cancel(),
      () => pruning.cancel(),
    );
    for (const runner of this.#archive.list()) runner.resume();
  }

  offer(offer: RoundOffer): Promise<RegionRoundStatus> {
    const answer = this.#offers.then(() => this.#take(offer));
    this.#offers = answer.catch(() => {});
    return answer;
  }

  async take(campaign: string, round: number): Promise<void> {
    await this.#archive.get(campaign, round)?.step({ kind: "take" });
  }

  round(campaign: string, round: number): RoundRunner | undefined {
    return this.#archive.get(campaign, round);
  }

  rounds(): readonly RoundRunner[] {
    return this.#archive.list();
  }

  async stop(): Promise<void> {
    for (const stop of this.#stops) stop();
    await this.#offers;
    for (const runner of this.#archive.list()) runner.end();
    await this.#masking.stop();
    await Promise.all(this.#working);
    await this.#archive.close();
    await this.#pins.close();
  }

  async #take(offer: RoundOffer): Promise<RegionRoundStatus> {
    const known = this.#archive.get(offer.campaign, offer.round);
    if (known) return this.#statusOf(known);
    const refuse = (reason: string) => statusOfRefusedOffer(offer, reason, this.#address());
    const fault = faultOfOffer(offer);
    if (fault) return refuse(`invalid offer: ${fault}`);
    const siblings = this.#archive.ofCampaign(offer.campaign);
    if (siblings.some(({ state }) => state.offer.round > offer.round)) {
      return refuse("stale offer: a later round was offered before");
    }
    for (const sibling of siblings) await sibling.step({ kind: "supersede", by: offer.round });
    if (!this.#archive.hasRoom) return refuse("too many rounds are open in this region");
    const runner = await this.#archive.add(offer, this.#options.clock.now());
    this.#options.log.info({ campaign: offer.campaign, round: offer.round }, "a round opens");
    await this.#tickRound(runner);
    return this.#statusOf(runner);
  }

  #perform(effect: RoundEffect, runner: RoundRunner): void {
    switch (effect.kind) {
      case "publish":
        this.#publish(runner);
        break;
      case "command":
        this.#run("telling to train", tellToTrain(runner, effect.edge, this.#options));
        break;
      case "count-late":
        this.#late.inc();
        break;
      case "sum":
        this.#run("summing", this.#sum(runner));
        break;
    }
  }

  async #sum(runner: RoundRunner): Promise<void> {
    try {
      const partial = await this.#masking.sum(runner.state, this.#sourcesOf(runner));
      runner.onEnd(this.#options.store.pin(sha256(partial.artifact!.sha256)));
      await runner.step({ kind: "summed", partial });
    } catch (thrown) {
      if (thrown instanceof Fault && thrown.code === "cancelled") return; // We are stopping.
      const reason = thrown instanceof Error ? thrown.message : String(thrown);
      this.#options.log.error({ err: thrown }, "a partial can't be summed");
      await runner.step({ kind: "unsummable", reason: `the deltas can't be summed: ${reason}` });
    }
  }

  #sourcesOf(runner: Pick<RoundRunner, "state">): PartialSources {
    const { dir, store: artifacts, fetchArtifact } = this.#options;
    const rounds = this.#archive.list();
    const counted = countedDeltas(rounds, runner);
    const carried = carriedDeltas(rounds, runner.state);
    const scratchDir = join(dir, "sums", String(this.#fence.epoch));
    return { deltas: this.#deltas, artifacts, fetchArtifact, scratchDir, counted, carried };
  }

  #tick(): void {
    if (!this.#fence.isHeld) return; // Over for this process: it is about to be stopped.
    for (const runner of this.#archive.list()) {
      if (runner.state.phase === "open") this.#run("a tick", this.#tickRound(runner));
      this.#run("masking", this.#masking.pursue(runner));
    }
  }

  async #tickRound(runner: RoundRunner): Promise<void> {
    const past = this.#archive.list().map(({ state }) => state);
    const members = this.#options.members();
    const candidates = await candidatesOf(runner.state.offer.model, members, past, this.#pins);
    await runner.step({ kind: "tick", candidates });
  }

  #publishAll(): void {
    for (const runner of this.#archive.list()) if (!runner.state.taken) this.#publish(runner);
  }

  #publish(runner: RoundRunner): void {
    // Before the server listens, nobody could fetch what the status names; told again soon.
    if (this.#options.http() === "" || !this.#fence.isHeld) return;
    const body = toBinary(RegionRoundStatusSchema, this.#statusOf(runner));
    this.#options.nats.publish(subjects.roundStatus(this.#options.region), body);
  }

  async #onOffer({ body, respond }: Received): Promise<void> {
    this.#fence.assertHeld();
    const status = await this.offer(fromBinary(RoundOfferSchema, body));
    respond?.(toBinary(RegionRoundStatusSchema, status));
  }

  async #onTaken({ body, respond }: Received): Promise<void> {
    this.#fence.assertHeld();
    const { campaign, round } = fromBinary(RoundOfferSchema, body);
    await this.take(campaign, round);
    respond?.(toBinary(RoundOfferSchema, create(RoundOfferSchema, { campaign, round })));
  }

  async #onProgress({ subject, body }: Received): Promise<void> {
    const progress = fromBinary(TrainProgressSchema, body);
    const { campaign, round, edge, step, steps, loss, failed } = progress;
    const runner = this.#archive.get(campaign, round);
    if (!runner || subject.split(".").at(-1) !== edge) return;
    if (failed) await runner.step({ kind: "failure", edge, reason: failed });
    else runner.noteTrainingStep({ edge, step, steps, loss });
  }

  async #onRebuild({ body, respond }: Received): Promise<void> {
    this.#fence.assertHeld();
    const request = fromBinary(RebuildRequestSchema, body);
    const runner = this.#archive.get(request.campaign, request.round);
    const kept = runner && { state: runner.state, sources: this.#sourcesOf(runner) };
    const reply = await rebuildPartial(request, kept, this.#address());
    respond?.(toBinary(RebuildReplySchema, reply));
  }

  #statusOf(runner: RoundRunner): RegionRoundStatus {
    return statusOfRound(runner.state, this.#address());
  }

  #address() {
    return { region: this.#options.region, http: this.#options.http() };
  }

  /** Runs work that nobody waits for; a failure is logged, and a later tick tries again. */
  #run(what: string, work: Promise<void>): void {
    const done = work.catch((thrown: unknown) => {
      this.#options.log.error({ err: thrown }, `${what} failed`);
    });
    this.#working.add(done);
    void done.then(() => this.#working.delete(done));
  }
}
