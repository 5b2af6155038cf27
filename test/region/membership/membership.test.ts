// Who is a member and how well it is, from beats and trunks and nothing else.
import test from "ava";
import fc from "fast-check";
import type { EdgeId } from "../../../proto/ids.ts";
import type { TrunkSight } from "../../../region/membership/member.ts";
import {
  defaultMembershipBounds,
  Membership,
  passTime,
  takeBeat,
  takeTrunk,
} from "../../../region/membership/membership.ts";
import { heartbeatOf } from "../heartbeat-maker.ts";

const up: TrunkSight = { state: "up", rttMs: 1, silentMs: 0 };
const down: TrunkSight = { ...up, state: "down" };
const a = "a" as EdgeId;
const b = "b" as EdgeId;

function statusOf(state: Membership, edge: EdgeId): string {
  return state.members.get(edge)?.status ?? "unknown";
}

/** Two ready edges at time 0. */
function twoReady(): Membership {
  const state = new Membership();
  for (const edge of [a, b]) {
    takeBeat(state, heartbeatOf(edge, 1), 0);
    takeTrunk(state, edge, up, 0);
  }
  return state;
}

test("an edge is ready once it has beaten and its trunk is up", (t) => {
  const state = new Membership();
  const outcome = takeBeat(state, heartbeatOf("a", 1), 0);
  t.is(outcome.kind === "accepted" ? outcome.changes[0]?.kind : "", "joined");
  t.is(statusOf(state, a), "suspect");
  const [change] = takeTrunk(state, a, up, 10);
  t.is(change?.kind, "status");
  t.is(statusOf(state, a), "ready");
});

test("a trunk that is down or silent makes its edge suspect at once", (t) => {
  const state = twoReady();
  takeTrunk(state, a, down, 10);
  takeTrunk(state, b, { ...up, silentMs: 1250 }, 10);
  t.is(statusOf(state, a), "suspect");
  t.is(statusOf(state, b), "suspect");
  takeTrunk(state, a, up, 20);
  t.is(statusOf(state, a), "ready");
});

test("three missed beats make an edge suspect while others beat; without a trunk, dead", (t) => {
  const state = twoReady();
  const beat = (nowMs: number) => takeBeat(state, heartbeatOf("b", 2 + nowMs), nowMs);
  beat(1500);
  passTime(state, 1500);
  t.is(statusOf(state, a), "ready");
  beat(1501);
  passTime(state, 1501);
  t.is(statusOf(state, a), "suspect");
  t.is(statusOf(state, b), "ready");
  beat(4001);
  passTime(state, 4001);
  t.is(statusOf(state, a), "suspect", "its trunk still answers");
  takeTrunk(state, a, down, 4001);
  t.is(statusOf(state, a), "dead");
});

test("when all beats stop, the channel has failed and the trunks alone decide", (t) => {
  const state = twoReady();
  passTime(state, 60_000);
  t.is(statusOf(state, a), "ready");
  takeTrunk(state, a, down, 60_000);
  t.is(statusOf(state, a), "dead");
  t.is(statusOf(state, b), "ready");
});

test("a dead edge is forgotten after a bounded time, and may come back under its name", (t) => {
  const state = twoReady();
  takeTrunk(state, a, down, 5000);
  t.is(statusOf(state, a), "dead");
  const older = heartbeatOf("a", 1, { incarnation: 0n });
  t.is(takeBeat(state, older, 6000).kind, "accepted", "its clock may have been set back");
  takeTrunk(state, a, down, 20_000);
  t.is(statusOf(state, a), "dead");
  const changes = passTime(state, 20_000 + defaultMembershipBounds.forgetMs);
  t.true(changes.some(({ kind, member }) => kind === "removed" && member.edge === a));
  t.false(state.members.has(a));
});

test("older incarnations and sequences are ignored; a newer process replaces the older", (t) => {
  const state = new Membership();
  takeBeat(state, heartbeatOf("a", 5, { incarnation: 2n }), 0);
  takeTrunk(state, a, up, 0);
  t.is(takeBeat(state, heartbeatOf("a", 5, { incarnation: 2n }), 1).kind, "ignored");
  t.is(takeBeat(state, heartbeatOf("a", 9, { incarnation: 1n }), 1).kind, "ignored");
  const outcome = takeBeat(state, heartbeatOf("a", 1, { incarnation: 3n }), 1);
  t.is(outcome.kind === "accepted" ? outcome.changes[0]?.kind : "", "replaced");
  t.is(statusOf(state, a), "suspect", "nothing is known of the new process's trunk");
});

test("draining and leaving edges say so; a suspect one stays suspect", (t) => {
  const state = twoReady();
  takeBeat(state, heartbeatOf("a", 2, { draining: true }), 10);
  t.is(statusOf(state, a), "draining");
  takeBeat(state, heartbeatOf("b", 2, { leaving: true }), 10);
  t.is(statusOf(state, b), "leaving");
  takeTrunk(state, a, down, 20);
  t.is(statusOf(state, a), "suspect");
});

test("there is room for a bounded number; only the dead make room for more", (t) => {
  const state = new Membership({ ...defaultMembershipBounds, edgesMax: 2 });
  takeBeat(state, heartbeatOf("a", 1), 0);
  takeBeat(state, heartbeatOf("b", 1), 0);
  t.is(takeBeat(state, heartbeatOf("c", 1), 0).kind, "ignored");
  takeBeat(state, heartbeatOf("b", 2), 5000);
  passTime(state, 5000);
  t.is(statusOf(state, a), "dead");
  const outcome = takeBeat(state, heartbeatOf("c", 1), 5000);
  const kinds = outcome.kind === "accepted" ? outcome.changes.map(({ kind }) => kind) : [];
  t.deepEqual(kinds.slice(0, 2), ["removed", "joined"]);
  t.deepEqual([...state.members.keys()], ["b", "c"]);
});

test("whatever happens, only an edge with a live trunk is ready, and each change is told", (t) => {
  const step = fc.record({
    edge: fc.constantFrom("a", "b", "c"),
    dtMs: fc.integer({ min: 0, max: 2500 }),
    act: fc.oneof(
      fc.record({
        kind: fc.constant("beat" as const),
        incarnation: fc.bigInt({ min: 1n, max: 3n }),
        draining: fc.boolean(),
      }),
      fc.record({
        kind: fc.constant("trunk" as const),
        state: fc.constantFrom("connecting" as const, "up" as const, "down" as const),
        silentMs: fc.constantFrom(0, 500, 1500),
      }),
      fc.record({ kind: fc.constant("time" as const) }),
    ),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const state = new Membership();
      const told = new Map<string, string>();
      let nowMs = 0;
      let sequence = 0;
      for (const { edge, dtMs, act } of steps) {
        nowMs += dtMs;
        sequence += 1;
        const { incarnation, draining } =
          act.kind === "beat" ? act : { incarnation: 1n, draining: false };
        const beat = heartbeatOf(edge, sequence, { incarnation, draining });
        const outcome = act.kind === "beat" ? takeBeat(state, beat, nowMs) : null;
        const changes =
          outcome?.kind === "accepted"
            ? outcome.changes
            : act.kind === "trunk"
              ? takeTrunk(state, edge as EdgeId, { ...act, rttMs: 1 }, nowMs)
              : passTime(state, nowMs);
        for (const { kind, member } of changes) {
          if (kind === "removed") told.delete(member.edge);
          else told.set(member.edge, member.status);
        }
        for (const member of state.members.values()) {
          t.is(told.get(member.edge), member.status);
          if (member.status !== "ready") continue;
          t.is(member.trunk.state, "up");
          t.true(member.trunk.silentMs <= defaultMembershipBounds.trunkSilentMs);
          t.is(member.reason, "");
        }
      }
    }),
    { seed: 3, numRuns: 1000 },
  );
});
