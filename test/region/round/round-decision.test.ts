// The core of a regional round: every invited edge ends in exactly one bucket, whatever comes in
// whatever order.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import test from "ava";
import fc from "fast-check";
import {
  Bucket,
  BucketSchema,
  PartialSchema,
  TrainReplySchema,
} from "../../../proto/gen/isthmus/v1/rounds_pb.ts";
import { LATEST_START_SHARE } from "../../../region/round/invitation.ts";
import {
  admitDelta,
  decideRound,
  FIRST_EDGE_WAIT_MS,
  REFUSALS_MAX,
  type RoundEffect,
  type RoundInput,
} from "../../../region/round/round-decision.ts";
import { applyRoundEvent, type RoundState } from "../../../region/round/round-state.ts";
import { statusOfRound } from "../../../region/round/round-status.ts";
import { openSigningKey } from "../../../sync/delta/signing-key.ts";
import { adapterOf, offerOf, signedDelta } from "./round-fixture.ts";

const dir = mkdtempSync(join(tmpdir(), "isthmus-decision-"));
const key = openSigningKey(join(dir, "key.pem"));
test.after.always(() => rmSync(dir, { recursive: true }));

const DEADLINE_MS = 60_000;
const offer = offerOf({ deadlineMs: BigInt(DEADLINE_MS), quorum: 2 });
const opened = applyRoundEvent(null, { kind: "opened", atMs: 0, offer });
const manifestOf = (edge: string, seed = 1) =>
  signedDelta(offer, edge, key, adapterOf(seed)).manifest;
const manifests = new Map(["e-1", "e-2", "e-3"].map((edge) => [edge, manifestOf(edge)]));

const tick = (...edges: string[]): RoundInput => ({
  kind: "tick",
  candidates: edges.map((edge) => ({ edge, keyMatches: true })),
});
const reply = (edge: string, accepted: boolean, reason = ""): RoundInput => ({
  kind: "reply",
  edge,
  reply: create(TrainReplySchema, { accepted, reason }),
});
const delta = (edge: string): RoundInput => ({
  kind: "delta",
  edge,
  manifest: manifests.get(edge) ?? manifestOf(edge),
});
const objection = (edge: string, reason: "hash" | "norm"): RoundInput => ({
  kind: "objection",
  edge,
  manifest: manifests.get(edge)!,
  objection: { reason, detail: "for a test", attributable: reason === "norm" },
});

/** Feeds inputs at their times; the last state and all effects. */
function play(steps: readonly (readonly [nowMs: number, input: RoundInput])[], from = opened) {
  const effects: RoundEffect[] = [];
  const state = steps.reduce((before, [nowMs, input]) => {
    const decision = decideRound(before, input, nowMs);
    effects.push(...decision.effects);
    return decision.events.reduce(applyRoundEvent, before as RoundState);
  }, from);
  return { state, effects };
}

const bucketOf = (state: RoundState, edge: string) => {
  const seat = state.seats.get(edge)!;
  return [BucketSchema.value[seat.bucket]!.localName, seat.reason];
};

test("ready edges are invited once, and the round closes when all have concluded", (t) => {
  const { state, effects } = play([
    [0, tick("e-2", "e-1")],
    [10, tick("e-1", "e-2")],
    [20, reply("e-1", true)],
    [20, reply("e-1", true)],
    [30, delta("e-1")],
    [40, delta("e-2")],
  ]);
  t.is(state.phase, "closed");
  t.deepEqual(
    effects.filter(({ kind }) => kind !== "publish"),
    [{ kind: "command", edge: "e-1" }, { kind: "command", edge: "e-2" }, { kind: "sum" }],
  );
  t.deepEqual(bucketOf(state, "e-2"), ["INCLUDED", ""]);
});

test("edges that come back are invited while they may still finish, then no more", (t) => {
  const latestMs = DEADLINE_MS * LATEST_START_SHARE;
  const { state } = play([
    [0, tick("e-1")],
    [latestMs - 1, tick("e-1", "e-2")],
    [latestMs, tick("e-1", "e-2", "e-3")],
  ]);
  t.deepEqual([...state.seats.keys()], ["e-1", "e-2"]);
});

test("each way to end has its bucket and reason", (t) => {
  const edges = ["e-1", "e-2", "e-3", "e-4", "e-5", "e-6", "e-7"];
  const { state } = play([
    [0, tick(...edges)],
    [0, { kind: "tick", candidates: [{ edge: "e-8", keyMatches: false }] }],
    [1, delta("e-1")],
    [1, reply("e-2", true)],
    [1, objection("e-3", "norm")],
    [1, reply("e-4", false, "busy")],
    [1, reply("e-5", true)],
    [2, reply("e-5", false, "out of memory")],
    [2, { kind: "failure", edge: "e-7", reason: "crashed" }],
    [DEADLINE_MS, tick()],
  ]);
  t.deepEqual(
    [...state.seats.keys()].map((edge) => [edge, ...bucketOf(state, edge)]),
    [
      ["e-1", "INCLUDED", ""],
      ["e-2", "LATE", "no delta by the deadline"],
      ["e-3", "QUARANTINED", "norm"],
      ["e-4", "DECLINED", "busy"],
      ["e-5", "FAILED", "out of memory"],
      ["e-6", "FAILED", "no answer to the train command"],
      ["e-7", "FAILED", "crashed"],
      ["e-8", "QUARANTINED", "key"],
    ],
  );
  t.is(state.reason, "below quorum: 1 of 2 deltas");
});

test("a delta after the deadline is late even when no timer has fired", (t) => {
  const ready = play([[0, tick("e-1", "e-2")]]).state;
  t.is(admitDelta(ready, "e-1", "x", DEADLINE_MS - 1), "welcome");
  t.is(admitDelta(ready, "e-1", "x", DEADLINE_MS), "late");
  const { state } = play([[DEADLINE_MS, delta("e-1")]], ready);
  t.deepEqual(bucketOf(state, "e-1"), ["FAILED", "no answer to the train command"]);
  t.is(state.phase, "done");
});

test("what others may have sent in an edge's name doesn't cost it its place", (t) => {
  const many = Array.from(
    { length: REFUSALS_MAX + 5 },
    () => [1, objection("e-1", "hash")] as const,
  );
  const attacked = play([[0, tick("e-1", "e-2")], ...many]).state;
  t.is(attacked.seats.get("e-1")!.refusals.length, REFUSALS_MAX);
  t.is(admitDelta(attacked, "e-1", "x", 2), "welcome");
  t.deepEqual(bucketOf(play([[2, delta("e-1")]], attacked).state, "e-1"), ["INCLUDED", ""]);
  const silent = play([[DEADLINE_MS, tick()]], attacked).state;
  t.deepEqual(bucketOf(silent, "e-1"), ["QUARANTINED", "hash"]);
});

test("the same delta again is a duplicate, another a conflict, a stranger's not invited", (t) => {
  const { state } = play([
    [0, tick("e-1", "e-2")],
    [1, delta("e-1")],
  ]);
  const sha256 = manifests.get("e-1")!.delta!.sha256;
  t.is(admitDelta(state, "e-1", sha256, 2), "duplicate");
  t.is(admitDelta(state, "e-1", sha256, DEADLINE_MS + 1), "duplicate");
  t.is(admitDelta(state, "e-1", "f".repeat(64), 2), "conflict");
  t.is(admitDelta(state, "e-9", sha256, 2), "not-invited");
});

test("with nobody ready the round waits a while, then is abandoned and says why", (t) => {
  const waiting = play([[FIRST_EDGE_WAIT_MS - 1, tick()]]).state;
  t.is(waiting.phase, "open");
  t.like(play([[FIRST_EDGE_WAIT_MS, tick()]], waiting).state, {
    phase: "done",
    reason: "no edge was ready with the model",
  });
});

test("a later round of the campaign ends this one", (t) => {
  const { state } = play([
    [0, tick("e-1")],
    [1, reply("e-1", true)],
    [2, { kind: "supersede", by: 2 }],
  ]);
  t.like(state, { phase: "done", taken: true, reason: "superseded by round 2" });
  t.deepEqual(bucketOf(state, "e-1"), ["LATE", "the round was superseded"]);
});

const edgeNames = fc.constantFrom("e-1", "e-2", "e-3");
const inputs: fc.Arbitrary<RoundInput> = fc.oneof(
  fc.subarray(["e-1", "e-2", "e-3"]).map((edges) => tick(...edges)),
  fc.tuple(edgeNames, fc.boolean()).map(([edge, accepted]) => reply(edge, accepted, "no")),
  edgeNames.map(delta),
  fc.tuple(edgeNames, fc.constantFrom("hash", "norm")).map(([edge, why]) => objection(edge, why)),
  edgeNames.map((edge) => ({ kind: "failure", edge, reason: "crashed" }) as const),
  fc.constant({ kind: "summed", partial: create(PartialSchema, {}) } as const),
  fc.constant({ kind: "take" } as const),
);
const firstTick = fc.subarray(["e-1", "e-2", "e-3"], { minLength: 1 });
const history = fc.array(fc.tuple(fc.integer({ min: 0, max: 9_000 }), inputs), { maxLength: 25 });

test("in any history each seat concludes at most once, and all of them by the end", (t) => {
  const endings = new Set<Bucket>();
  fc.assert(
    fc.property(firstTick, history, (first, more) => {
      const steps = [[0, tick(...first)] as const, ...more];
      let nowMs = 0;
      let state = opened;
      const concluded = new Map<string, Bucket>();
      const end = [DEADLINE_MS, tick()] as const;
      for (const [waitMs, input] of [...steps, end]) {
        nowMs += waitMs;
        const { events } = decideRound(state, input, nowMs);
        state = events.reduce(applyRoundEvent, state);
        for (const [edge, { bucket }] of state.seats) {
          const before = concluded.get(edge);
          if (before !== undefined && before !== bucket) return false;
          if (bucket !== Bucket.TRAINING) concluded.set(edge, bucket);
        }
      }
      for (const bucket of concluded.values()) endings.add(bucket);
      const outcomes = statusOfRound(state, { region: "us", http: "" }).edges;
      return (
        state.phase !== "open" &&
        concluded.size === state.seats.size &&
        outcomes.every(({ bucket }) => bucket >= Bucket.INCLUDED)
      );
    }),
    { seed: 11, numRuns: 2000 },
  );
  t.is(endings.size, 5);
});
