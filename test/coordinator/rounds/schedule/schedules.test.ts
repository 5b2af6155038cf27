// Rounds that start by themselves: by a durable clock, once a turn, and by drift as policy says.
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import test from "ava";
import { Catalogue } from "../../../../coordinator/catalogue/catalogue.ts";
import { RecordStore } from "../../../../coordinator/records/record-store.ts";
import { Fleet } from "../../../../coordinator/rollout/fleet.ts";
import { Rollouts } from "../../../../coordinator/rollout/rollouts.ts";
import { Campaigns } from "../../../../coordinator/rounds/campaigns.ts";
import {
  nextDueMs,
  scheduleRequestSchema,
} from "../../../../coordinator/rounds/schedule/schedule-record.ts";
import { Schedules } from "../../../../coordinator/rounds/schedule/schedules.ts";
import { Fault } from "../../../../proto/fault.ts";
import { RegionSummarySchema } from "../../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { sha256 } from "../../../../proto/ids.ts";
import { silentLog } from "../../../../runtime/log.ts";
import { createArtifactStore } from "../../../../sync/artifact/artifact-store.ts";
import { hashOf } from "../../../region/round/round-fixture.ts";
import { linkedNats } from "../../../support/linked-nats.ts";
import { ManualClock } from "../../../support/manual-clock.ts";

/** Each second of it is looked at: short, for the test's sake. */
const TURN_MS = 60_000;
const { dir, nats } = await linkedNats();
let folders = 0;

function freshDir(): string {
  folders += 1;
  return join(dir, String(folders));
}

/** What a coordinator has of rounds, on a folder that outlives it and a clock that a test moves. */
async function startCoordinator(at: string, clock: ManualClock) {
  const records = new RecordStore(join(at, "records.log"));
  const artifacts = createArtifactStore({ dir: join(at, "artifacts") });
  const catalogue = new Catalogue({ records, artifacts, clock });
  const fleet = new Fleet(clock);
  const log = silentLog();
  const rollouts = new Rollouts({ records, catalogue, fleet, nats, clock, log });
  const parts = { records, artifacts, catalogue, fleet, rollouts, nats, clock, log, dir: at };
  const campaigns = new Campaigns({ ...parts, regions: ["us"] });
  const schedules = new Schedules({ records, catalogue, campaigns, fleet, clock, log });
  if (catalogue.models().length === 0) {
    const bytes = Buffer.from("a base");
    const base = { sha256: hashOf(bytes), bytes: bytes.length, name: "base.gguf" };
    await artifacts.put(sha256(base.sha256), bytes.length, ReadableStream.from([bytes]));
    catalogue.publish({ model: "demo", base, origin: { kind: "published" } }, { heldout: base });
  }
  const hear = (sequence: bigint, scores: Record<string, number>) => {
    const edges = Object.entries(scores).map(([edge, score]) => {
      return {
        edge,
        status: "ready",
        drift: [{ model: "demo", score, threshold: 0.2, inputs: 9 }],
      };
    });
    fleet.hear(create(RegionSummarySchema, { region: "us", incarnation: 1n, sequence, edges }));
  };
  return {
    campaigns,
    schedules,
    records,
    hear,
    stop() {
      schedules.close();
      campaigns.close();
      rollouts.close();
      records.close();
    },
  };
}

const policy = (change: object) => scheduleRequestSchema.parse(change);
const triggersOf = ({ campaigns }: { campaigns: Campaigns }) =>
  campaigns.list().map(({ trigger }) => trigger.kind);

test("rounds start each time the period is over, with the request that was given", async (t) => {
  const clock = new ManualClock();
  const coordinator = await startCoordinator(freshDir(), clock);
  const { schedules, campaigns } = coordinator;
  const request = { rounds: 3, pace: { goal: 4, quorum: 2 }, params: { steps: 7 } };
  const startMs = clock.now();
  schedules.set("demo", policy({ every: 6 * TURN_MS, request }));
  clock.advance(6 * TURN_MS - 1_000);
  t.deepEqual(triggersOf(coordinator), []);
  clock.advance(1_000);
  const [first] = campaigns.list();
  t.like(first, { rounds: 3, trigger: { kind: "schedule", dueMs: startMs + 6 * TURN_MS } });
  t.like(first!.pace, { goal: 4, quorum: 2, overSelection: 1.3 });
  t.is(first!.params.steps, 7);
  t.like(schedules.get("demo"), {
    nextMs: startMs + 12 * TURN_MS,
    last: { campaign: first!.id, reason: "", why: "schedule" },
  });
  // Still under way at the next turn: that one is left out, and says so.
  clock.advance(6 * TURN_MS);
  t.is(campaigns.list().length, 1);
  t.is(schedules.get("demo").last!.reason, `${first!.id} was under way`);
  campaigns.stopCampaign(first!.id, "for a test");
  clock.advance(6 * TURN_MS);
  t.is(campaigns.list().length, 2);
  schedules.remove("demo");
  campaigns.stopCampaign(campaigns.list()[0]!.id, "for a test");
  clock.advance(24 * TURN_MS);
  t.is(campaigns.list().length, 2, "taken back, it starts nothing");
  t.throws(() => schedules.get("demo"), { instanceOf: Fault });
  coordinator.stop();
});

test("a schedule outlives its coordinator, and makes up for what it missed once", async (t) => {
  const at = freshDir();
  const clock = new ManualClock();
  const before = await startCoordinator(at, clock);
  before.schedules.set("demo", policy({ every: 6 * TURN_MS }));
  before.stop();
  clock.advance(27 * TURN_MS);
  const after = await startCoordinator(at, clock);
  clock.advance(1_000);
  t.is(after.campaigns.list().length, 1);
  const { nextMs } = after.schedules.get("demo");
  t.is((nextMs! - clock.now() + 1_000) / TURN_MS, 3, "then on in step with the first");
  after.stop();
});

test("a turn whose campaign was started before a crash isn't started again", async (t) => {
  const at = freshDir();
  const clock = new ManualClock();
  const before = await startCoordinator(at, clock);
  before.schedules.set("demo", policy({ every: TURN_MS }));
  const schedule = before.records.get("schedule.demo")!.value;
  clock.advance(TURN_MS);
  const { id } = before.campaigns.list()[0]!;
  before.campaigns.stopCampaign(id, "it went fast");
  // As a crash leaves it that strikes between the campaign's record and the schedule's.
  before.records.put("schedule.demo", schedule, before.records.get("schedule.demo")!.revision);
  before.stop();
  const after = await startCoordinator(at, clock);
  clock.advance(1_000);
  t.is(after.campaigns.list().length, 1);
  t.is(after.schedules.get("demo").last!.campaign, id);
  after.stop();
});

test("drift suggests a round, and starts one where policy says so", async (t) => {
  const clock = new ManualClock();
  const coordinator = await startCoordinator(freshDir(), clock);
  const { schedules, campaigns, hear } = coordinator;
  hear(1n, { "us-1": 0.1, "us-2": 0.35 });
  clock.advance(1_000);
  t.deepEqual(
    schedules.suggestions().map(({ model, edges }) => [model, edges.map(({ edge }) => edge)]),
    [["demo", ["us/us-2"]]],
  );
  t.deepEqual(triggersOf(coordinator), [], "without a policy nothing starts");
  schedules.set("demo", policy({ onDrift: "start", driftingEdges: 2, cooldownMs: TURN_MS }));
  t.deepEqual(schedules.suggestions(), [], "what starts by itself needs no suggestion");
  clock.advance(1_000);
  t.deepEqual(triggersOf(coordinator), [], "one edge is too few");
  hear(2n, { "us-1": 0.3, "us-2": 0.35 });
  clock.advance(1_000);
  const [started] = campaigns.list();
  t.deepEqual(started!.trigger, {
    kind: "drift",
    edges: ["us/us-2", "us/us-1"],
    count: 2,
    score: 0.35,
  });
  campaigns.stopCampaign(started!.id, "for a test");
  clock.advance(TURN_MS - 1_000);
  t.is(campaigns.list().length, 1, "it cools down");
  hear(3n, { "us-1": 0.3, "us-2": 0.35 });
  clock.advance(1_000);
  t.is(campaigns.list().length, 2);
  coordinator.stop();
});

test("drift of an edge that is gone, or without a score, starts nothing", async (t) => {
  const clock = new ManualClock();
  const coordinator = await startCoordinator(freshDir(), clock);
  coordinator.schedules.set("demo", policy({ onDrift: "start" }));
  coordinator.hear(1n, { "us-1": Number.NaN, "us-2": 0.2 });
  clock.advance(1_000);
  coordinator.hear(2n, { "us-1": 0.9 });
  // Its region is silent by the time that anybody looks again.
  clock.advance(500);
  coordinator.schedules.close();
  clock.advance(60_000);
  t.deepEqual(coordinator.schedules.suggestions(), []);
  coordinator.stop();
});

test("a schedule that could start nothing is refused", async (t) => {
  const coordinator = await startCoordinator(freshDir(), new ManualClock());
  const { schedules } = coordinator;
  const cases: [object, RegExp][] = [
    [{ every: TURN_MS, request: { rounds: 0 } }, /^request\.rounds: /],
    [{ every: TURN_MS, request: { pace: { goal: "many" } } }, /^request\.pace\.goal: /],
    [{ onDrift: "ignore" }, /needs a period, or an answer to drift/],
  ];
  for (const [change, message] of cases) {
    t.throws(() => schedules.set("demo", policy(change)), { message });
  }
  t.throws(() => schedules.set("none", policy({ every: TURN_MS })), { message: /no model none/ });
  t.deepEqual(schedules.list(), []);
  coordinator.stop();
});

test("the next turn is a whole number of periods after the one that was due", (t) => {
  t.is(nextDueMs(100, 10, 99), 100);
  t.is(nextDueMs(100, 10, 100), 110);
  t.is(nextDueMs(100, 10, 109), 110);
  t.is(nextDueMs(100, 10, 137), 140);
});
