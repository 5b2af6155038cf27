// Whom a regional round invites: some more than its goal, the next one for whoever drops out, and
// those first who have waited longest.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import fc from "fast-check";
import { Bucket, TrainReplySchema } from "../../../proto/gen/isthmus/v1/rounds_pb.ts";
import {
  type Candidate,
  INVITES_PER_TICK_MAX,
  invitationsOf,
  LATEST_START_SHARE,
  type Standing,
} from "../../../region/round/invitation.ts";
import { standingsOf } from "../../../region/round/participation.ts";
import { decideRound, type RoundInput } from "../../../region/round/round-decision.ts";
import {
  applyRoundEvent,
  includedSeats,
  type RoundState,
} from "../../../region/round/round-state.ts";
import { statusOfRound } from "../../../region/round/round-status.ts";
import { MODEL, manifestOf, offerOf } from "./round-fixture.ts";

const DEADLINE_MS = 60_000;
const names = (count: number) => Array.from({ length: count }, (_, i) => `e-${1000 + i}`);
const tick = (edges: readonly string[]): RoundInput => {
  return { kind: "tick", candidates: edges.map((edge) => ({ edge, keyMatches: true })) };
};
const delta = (edge: string): RoundInput => ({ kind: "delta", edge, manifest: manifestOf(edge) });
const failure = (edge: string): RoundInput => ({ kind: "failure", edge, reason: "crashed" });

function open(goal: number, overSelection = 1.3, atMs = 0): RoundState {
  const deadlineMs = BigInt(atMs + DEADLINE_MS);
  const offer = offerOf({ deadlineMs, quorum: 1, goal, overSelection });
  return applyRoundEvent(null, { kind: "opened", atMs, offer });
}

const play = (from: RoundState, steps: readonly (readonly [number, RoundInput])[]) =>
  steps.reduce((state, [nowMs, input]) => {
    return decideRound(state, input, nowMs).events.reduce<RoundState>(applyRoundEvent, state);
  }, from);

const seatsOf = (state: RoundState) => [...state.seats.keys()];

test("with a goal, 130 % of it are invited", (t) => {
  const invited = [1, 2, 3, 10].map((goal) => play(open(goal), [[0, tick(names(50))]]).seats.size);
  t.deepEqual(invited, [2, 3, 4, 13]);
  const unset = { ...open(10), offer: offerOf({ goal: 10, deadlineMs: BigInt(DEADLINE_MS) }) };
  t.is(play(unset, [[0, tick(names(50))]]).seats.size, 13, "a region's own default");
});

test("the goal met, the round ends at once, and the rest are told so", (t) => {
  const edges = names(4);
  const state = play(open(3), [
    [0, tick(edges)],
    ...edges.slice(0, 3).map((edge, i) => [1_000 * (i + 1), delta(edge)] as const),
  ]);
  t.is(state.phase, "closed");
  t.is(state.closedMs, 3_000);
  t.is(includedSeats(state).length, 3);
  const reason = "the goal was met before its delta came";
  t.like(state.seats.get(edges[3]!), { bucket: Bucket.LATE, reason, surplus: true });
  const late = play(state, [[4_500, { kind: "late", edge: edges[3]! }]]);
  const told = statusOfRound(late, { region: "us", http: "" }).edges[3];
  t.is(told?.reason, `${reason}; it came 1.5 s after the round had closed`);
  t.is(includedSeats(late).length, 3, "a late delta is never summed");
  const again = play(late, [[9_000, { kind: "late", edge: edges[3]! }]]);
  t.is(again.seats.get(edges[3]!)?.lateByMs, 1_500, "counted once");
});

test("whoever drops out is replaced while there is time", (t) => {
  const edges = names(9);
  const after = play(open(2), [
    [0, tick(edges)],
    [10, failure(edges[0]!)],
    [20, failure(edges[1]!)],
    [30, failure(edges[2]!)],
  ]);
  t.is(after.phase, "open", "no more at work, but a tick may find others");
  t.deepEqual(seatsOf(play(after, [[250, tick(edges)]])), edges.slice(0, 6));
  const latestMs = DEADLINE_MS * LATEST_START_SHARE;
  t.is(play(after, [[latestMs, tick(edges)]]).phase, "done", "too late for anybody else");
  t.is(play(after, [[5_000, tick(edges.slice(0, 3))]]).phase, "done", "nobody else is there");
});

test("whoever waited longest comes first, whoever dropped out comes last", (t) => {
  const standings: Record<string, Standing> = {
    a: { missed: 2, includedMs: 0 },
    b: { missed: 0, includedMs: 500 },
    c: { missed: 0, includedMs: 100 },
    d: { missed: 1, includedMs: 0 },
  };
  const candidates: Candidate[] = ["a", "b", "c", "d", "e"].map((edge) => {
    const standing = standings[edge];
    return { edge, keyMatches: true, ...(standing && { standing }) };
  });
  const invited = invitationsOf(open(2, 2), candidates, 0);
  t.deepEqual(
    invited.map((event) => "edge" in event && event.edge),
    ["e", "c", "b", "d"],
  );
});

test("the same few are not asked in every round", (t) => {
  const edges = names(6);
  const past: RoundState[] = [];
  const turns = new Map(edges.map((edge) => [edge, 0]));
  for (let round = 0; round < 6; round += 1) {
    const standings = standingsOf(past, MODEL);
    const candidates = edges.map((edge) => {
      const standing = standings.get(edge);
      return { edge, keyMatches: true, ...(standing && { standing }) };
    });
    const atMs = (round + 1) * DEADLINE_MS;
    const opened = play(open(2, 1, atMs), [[atMs, { kind: "tick", candidates }]]);
    const asked = seatsOf(opened);
    for (const edge of asked) turns.set(edge, turns.get(edge)! + 1);
    const closed = play(
      opened,
      asked.map((edge) => [atMs + 1, delta(edge)] as const),
    );
    past.push({ ...closed, phase: "done" });
  }
  t.deepEqual([...turns.values()], [2, 2, 2, 2, 2, 2]);
});

test("being faster than the goal needs is no miss; a failure is", (t) => {
  const edges = names(4);
  const ended = play(open(2, 2), [
    [0, tick(edges)],
    [1, failure(edges[0]!)],
    [2, delta(edges[1]!)],
    [3, delta(edges[2]!)],
  ]);
  const standings = standingsOf([{ ...ended, phase: "done" }], MODEL);
  t.is(standings.get(edges[0]!)?.missed, 1);
  t.is(standings.get(edges[1]!)?.missed, 0);
  t.false(standings.has(edges[3]!));
  t.is(standingsOf([{ ...ended, phase: "done" }], "another").size, 0);
});

test("a whole region that comes back isn't told in one breath", (t) => {
  const edges = names(150);
  const first = play(open(0), [[0, tick(edges)]]);
  t.is(first.seats.size, INVITES_PER_TICK_MAX);
  t.is(
    play(first, [
      [250, tick(edges)],
      [500, tick(edges)],
    ]).seats.size,
    150,
  );
});

test("whatever happens, no more than the goal needs are at work at once", (t) => {
  const edge = fc.constantFrom(...names(8));
  const input = fc.oneof(
    fc.subarray(names(8)).map(tick),
    edge.map(delta),
    edge.map(failure),
    edge.map((one): RoundInput => {
      const reply = create(TrainReplySchema, { accepted: false, reason: "busy" });
      return { kind: "reply", edge: one, reply };
    }),
    edge.map((one): RoundInput => ({ kind: "late", edge: one })),
  );
  const history = fc.array(fc.tuple(fc.integer({ min: 0, max: 70_000 }), input), { maxLength: 40 });
  const law = fc.property(history, fc.integer({ min: 1, max: 4 }), (steps, goal) => {
    let state = open(goal);
    for (const step of [...steps].sort(([a], [b]) => a - b)) {
      state = play(state, [step]);
      const seats = [...state.seats.values()];
      const atWork = seats.filter(({ bucket }) => bucket === Bucket.TRAINING).length;
      const included = includedSeats(state).length;
      if (included > goal || atWork + included > Math.ceil(goal * 1.3)) return false;
      if (included === goal && state.phase === "open") return false;
    }
    return true;
  });
  fc.assert(law, { seed: 11, numRuns: 500 });
  t.pass();
});
