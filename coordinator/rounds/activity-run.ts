// Does what an activity asks for, with real files, links and edges, and says what came of it as an
// event. Decides nothing.
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { asFault } from "../../proto/fault.ts";
import { RegionRoundStatusSchema, RoundOfferSchema } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { regionId, type Sha256 } from "../../proto/ids.ts";
import { subjects } from "../../proto/subjects.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { NatsLink } from "../../runtime/nats/connection.ts";
import { pullArtifact } from "../../sync/artifact/artifact-pull.ts";
import type { ArtifactStore } from "../../sync/artifact/artifact-store.ts";
import { pause } from "../../sync/artifact/pause.ts";
import type { Catalogue } from "../catalogue/catalogue.ts";
import type { Evaluation } from "../catalogue/model-record.ts";
import type { RoundPrivacy } from "../privacy/round-privacy.ts";
import { type Fleet, REGION_SILENT_MS } from "../rollout/fleet.ts";
import { awaitRollout } from "../rollout/rollout-progress.ts";
import { isForAll } from "../rollout/rollout-state.ts";
import type { Rollouts } from "../rollout/rollouts.ts";
import type { Activity } from "./activity.ts";
import { mergeRound } from "./adapter-merge.ts";
import type { CampaignEvent } from "./campaign-event.ts";
import type { CampaignState } from "./campaign-state.ts";
import { evaluatePrivate, evaluatePublic } from "./evaluation-run.ts";
import { offerOf, reportOf } from "./round-messages.ts";
import { startState } from "./start-state.ts";

const LOOK_MS = 200;
const OFFER_TIMEOUT_MS = 5_000;
const OFFER_RETRY_MS = 1_000;
/** An offer that was answered is told again so often: the region may have been replaced. */
const OFFER_AGAIN_MS = 5_000;
const PULL_TIMEOUT_MS = 120_000;
const PULL_RETRY_MS = 1_000;
const ROLLOUT_TIMEOUT_MS = 120_000;

export interface ActivityRunOptions {
  readonly catalogue: Catalogue;
  readonly artifacts: ArtifactStore;
  readonly fleet: Fleet;
  readonly privacy: RoundPrivacy;
  readonly rollouts: Rollouts;
  readonly nats: Pick<NatsLink, "request">;
  readonly clock: Clock;
  readonly log: Log;
  /** For files being written. */
  readonly dir: string;
}

export interface ActivityScope extends ActivityRunOptions {
  readonly campaign: CampaignState;
  /** Aborted when the state no longer asks for the activity. */
  readonly signal: AbortSignal;
  readonly emit: (event: CampaignEvent) => void;
}

export async function runActivity(activity: Activity, scope: ActivityScope): Promise<void> {
  switch (activity.kind) {
    case "wake":
      await pause(scope.clock, activity.atMs - scope.clock.now(), scope.signal);
      return scope.emit({ kind: "tick" });
    case "count":
      return scope.emit(await countReady(activity, scope));
    case "offer":
      return await tellOffer(activity, scope);
    case "pull":
      return scope.emit(await pullPartial(activity, scope));
    case "merge":
      return scope.emit(await merge(activity, scope));
    case "measure":
      return scope.emit(await measure(activity, scope));
    case "roll-out":
      return scope.emit(await rollOut(activity, scope));
  }
}

/** Waits a moment for regions that have not been heard: after a start nobody has been. */
async function countReady(
  { round }: Activity & { kind: "count" },
  { campaign, fleet, clock, signal }: ActivityScope,
): Promise<CampaignEvent> {
  const endMs = clock.monotonicMs() + REGION_SILENT_MS;
  const isHeard = (name: string) => {
    return fleet.regions().some(({ summary, reachable }) => reachable && summary.region === name);
  };
  while (clock.monotonicMs() < endMs && !campaign.regions.every(isHeard)) {
    await pause(clock, LOOK_MS, signal);
  }
  const edges = fleet.readyEdges(campaign.model);
  const ready = campaign.regions.map((region) => {
    return { region, ready: edges.filter((edge) => edge.region === region).length };
  });
  return { kind: "counted", round, ready };
}

async function tellOffer(
  { region }: Activity & { kind: "offer" },
  scope: ActivityScope,
): Promise<void> {
  const { campaign, catalogue, clock, log, nats, signal } = scope;
  const refusal = scope.privacy.admit(campaign);
  if (refusal !== null) return scope.emit({ kind: "stopped", reason: refusal });
  const start = await startState(campaign, scope);
  const offer = offerOf(campaign, catalogue.version(campaign.good.version), region, start);
  const body = toBinary(RoundOfferSchema, offer);
  const subject = subjects.roundOffer(regionId(region));
  while (!signal.aborted) {
    let waitMs = OFFER_AGAIN_MS;
    try {
      const answer = await nats.request(subject, body, OFFER_TIMEOUT_MS);
      const status = fromBinary(RegionRoundStatusSchema, answer);
      scope.emit({ kind: "reported", report: reportOf(status) });
    } catch (thrown) {
      waitMs = OFFER_RETRY_MS;
      const reason = asFault(thrown).message;
      log.debug({ region, reason }, "a region does not answer the offer");
    }
    await pause(clock, waitMs, signal);
  }
}

/** Edges were told that they count: a region that comes back from a crash is waited for. */
async function pullPartial(
  { round, region, partial }: Activity & { kind: "pull" },
  { artifacts, clock, signal }: ActivityScope,
): Promise<CampaignEvent> {
  const { sha256, bytes } = partial.artifact;
  const late = new AbortController();
  const timer = clock.after(PULL_TIMEOUT_MS, () => late.abort());
  const ended = AbortSignal.any([signal, late.signal]);
  const target = { sha256: sha256 as Sha256, bytes };
  let trouble = "";
  try {
    for (;;) {
      try {
        await pullArtifact(target, [partial.http], artifacts, { clock, signal: ended });
        return { kind: "pulled", round, region };
      } catch (thrown) {
        const fault = asFault(thrown);
        if (trouble === "" || fault.code !== "cancelled") trouble = fault.message;
        if (ended.aborted || !fault.retriable) throw fault;
      }
      await pause(clock, PULL_RETRY_MS, ended);
    }
  } catch {
    const reason = `its partial can't be pulled: ${trouble}`;
    return { kind: "pull-failed", round, region, reason };
  } finally {
    timer.cancel();
  }
}

async function merge(
  { round }: Activity & { kind: "merge" },
  scope: ActivityScope,
): Promise<CampaignEvent> {
  try {
    const state = scope.campaign.round;
    if (state === null) throw new Error("no round is under way");
    return { kind: "merged", round, ...(await mergeRound(scope.campaign, state, scope)) };
  } catch (thrown) {
    scope.log.error({ err: thrown, round }, "merging failed");
    return { kind: "round-failed", round, reason: `merging failed: ${asFault(thrown).message}` };
  }
}

async function measure(
  { purpose, round, version: id }: Activity & { kind: "measure" },
  scope: ActivityScope,
): Promise<CampaignEvent> {
  const { campaign } = scope;
  const version = scope.catalogue.version(id);
  // Asked in the same words, what was measured as a candidate needn't be measured again as served.
  const keepOpen = purpose !== "baseline";
  const task = { version, examplesMax: campaign.rules.examplesMax, keepOpen };
  const evaluations: Evaluation[] = [];
  try {
    if (purpose !== "served") {
      evaluations.push(await evaluatePublic(task, campaign.heldout, scope));
    }
    evaluations.push(...(await evaluatePrivate(task, scope)));
    return { kind: "measured", purpose, round, evaluations };
  } catch (thrown) {
    const failed = `${id} could not be evaluated: ${asFault(thrown).message}`;
    return { kind: "measured", purpose, round, evaluations, failed };
  }
}

async function rollOut(
  { round, version }: Activity & { kind: "roll-out" },
  scope: ActivityScope,
): Promise<CampaignEvent> {
  const { campaign, rollouts, fleet, clock, signal } = scope;
  if (rollouts.of(campaign.model)?.version !== version) {
    try {
      rollouts.start({ version, why: "round", plan: campaign.gate, skipGate: true });
    } catch (thrown) {
      return { kind: "rolled-back", round, reason: asFault(thrown).message };
    }
  }
  const state = await rollouts.decided(campaign.model, signal);
  if (state?.version !== version || !isForAll(state)) {
    const reason = state?.reason || "something else was rolled out meanwhile";
    return { kind: "rolled-back", round, reason };
  }
  const target = { model: campaign.model, version };
  const options = { timeoutMs: ROLLOUT_TIMEOUT_MS, signal };
  const { waiting, failed } = await awaitRollout(fleet, clock, target, options);
  const stragglers = [...waiting, ...failed.map(({ edge }) => edge)].sort();
  return { kind: "rolled-out", round, stragglers };
}
