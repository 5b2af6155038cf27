// A version's way to the edges, without any of its surroundings.
import { isDeepStrictEqual } from "node:util";
import test from "ava";
import fc from "fast-check";
import type { EdgeHealth } from "../../../coordinator/rollout/health-comparison.ts";
import {
  isEnded,
  type RolloutState,
  rolloutSchema,
} from "../../../coordinator/rollout/rollout-state.ts";
import {
  FAILED_AFTER_MS,
  type RolloutEvent,
  type RolloutSight,
  STAGE_TIMEOUT_MS,
  stepRollout,
} from "../../../coordinator/rollout/rollout-step.ts";
import { noSums } from "../../../coordinator/rollout/version-sums.ts";
import { gatePlanSchema } from "../../../coordinator/rounds/plan/gate-plan.ts";

const plan = gatePlanSchema.parse({
  ...{ holdMs: 1_000, quietMs: 5_000, patienceMs: 60_000, watchMs: 10_000 },
});
const startMs = 1_000_000;
const all = ["eu/1", "eu/2", "us/1", "us/2"];

const begun = (phase: "gating" | "canary" = "canary", given = {}): RolloutState => ({
  ...{ model: "m", number: 1, version: "m@2", incumbent: "m@1", why: "promote", phase },
  plan: { ...plan, ...given },
  ...{ reason: "", isCondemned: false, startedMs: startMs, endedMs: null },
  ...{ stage: 0, stageSinceMs: startMs, settledMs: null },
  ...{ edges: [], reference: [], measured: [], unsure: [], past: [] },
});

const requests = (count: number, errors = 0) => ({ ...noSums, requests: count, errors });
const enough: EdgeHealth[] = [{ edge: "eu/1", candidate: requests(30), incumbent: requests(90) }];
const failing: EdgeHealth[] = [
  { edge: "eu/1", candidate: requests(30, 20), incumbent: requests(90) },
];

const sight = (serving: readonly string[], given: Partial<RolloutSight> = {}): RolloutEvent => ({
  kind: "seen",
  sight: { alive: all, ready: all, serving, failed: [], health: enough, ...given },
});

/** Sees the fleet again and again, each edge serving what it is told, until the stage changes. */
function passStage(state: RolloutState, nowMs: number, given: Partial<RolloutSight> = {}) {
  const settled = stepRollout(state, sight(state.edges, given), nowMs);
  const untilMs = nowMs + plan.holdMs;
  return { state: stepRollout(settled, sight(settled.edges, given), untilMs), nowMs: untilMs };
}

test("canary edges first, then waves, then everybody; and watched to the end", (t) => {
  let state = stepRollout(begun(), sight([]), startMs);
  let nowMs = startMs;
  const seen: unknown[] = [];
  while (!isEnded(state) && seen.length < 9) {
    seen.push([state.phase, state.stage, state.edges.length]);
    if (state.phase === "watching") {
      t.is(stepRollout(state, sight(all), nowMs + plan.watchMs - 1), state);
      state = stepRollout(state, sight(all), nowMs + plan.watchMs);
    } else ({ state, nowMs } = passStage(state, nowMs));
  }
  t.deepEqual(seen, [
    ["canary", 0, 1],
    ["wave", 1, 2],
    ["wave", 2, 4],
    ["watching", 2, 4],
  ]);
  t.is(state.phase, "promoted");
});

test("the canaries are those that come first, and as many as the plan says", (t) => {
  const ready = ["us/2", "eu/1", "us/1"];
  t.deepEqual(stepRollout(begun(), sight([], { ready }), startMs).edges, ["us/2"]);
  const two = stepRollout(begun("canary", { canaryEdges: 2 }), sight([], { ready }), startMs);
  t.deepEqual(two.edges, ["eu/1", "us/2"]);
});

test("a stage waits for its edges, then its time, then for requests if there are any", (t) => {
  const canary = stepRollout(begun(), sight([]), startMs);
  t.is(stepRollout(canary, sight([]), startMs + 60_000), canary, "not served there yet");
  const settled = stepRollout(canary, sight(["eu/1"]), startMs);
  t.is(settled.settledMs, startMs);
  t.is(stepRollout(settled, sight(["eu/1"]), startMs + 999), settled);
  t.is(stepRollout(settled, sight(["eu/1"]), startMs + 1_000).phase, "wave");
  const few = { health: [] };
  t.is(stepRollout(settled, sight(["eu/1"], few), startMs + 4_999), settled);
  const unsure = stepRollout(settled, sight(["eu/1"], few), startMs + 5_000);
  t.like(unsure, { phase: "wave", unsure: ["canary"] });
  const after = (ms: number, count: number) => {
    const health = [{ edge: "eu/1", candidate: requests(count), incumbent: requests(90) }];
    return stepRollout(settled, sight(["eu/1"], { health }), startMs + ms).phase;
  };
  // 30 requests within 60 s: one every two seconds is enough to wait for the next one.
  t.is(after(10_000, 5), "canary");
  t.is(after(10_001, 4), "wave");
  t.is(after(59_999, 29), "wave");
  t.is(after(56_000, 28), "canary");
  t.is(after(60_000, 29), "wave", "patience has an end");
});

test("one that does worse is withdrawn in every phase, and then rolled back", (t) => {
  const canary = stepRollout(begun(), sight([]), startMs);
  const wave = passStage(canary, startMs).state;
  const watching = { ...wave, phase: "watching", edges: all } as const;
  for (const state of [canary, wave, watching]) {
    const worse = stepRollout(state, sight(state.edges, { health: failing }), startMs + 2_000);
    t.like(worse, { phase: "withdrawing", isCondemned: true });
    t.regex(worse.reason, /^66\.7 % of 30 requests fail/);
    t.is(stepRollout(worse, sight(all), startMs + 9_000), worse, "only withdrawing is left");
    const over = stepRollout(worse, { kind: "withdrawn" }, startMs + 3_000);
    t.like(over, { phase: "rolled-back", endedMs: startMs + 3_000, reason: worse.reason });
  }
});

test("what the gate refuses no caller gets; what passes begins with the canaries", (t) => {
  const gating = begun("gating");
  t.is(stepRollout(gating, sight(all), startMs + 1), gating);
  const judged = (refusal: string): RolloutEvent => {
    return { kind: "judged", reference: [], measured: [], refusal };
  };
  const refused = stepRollout(gating, judged("home loses 9 points"), startMs + 5);
  t.like(refused, { phase: "refused", reason: "home loses 9 points", edges: [] });
  const passed = stepRollout(gating, judged(""), startMs + 5);
  t.like(passed, { phase: "canary", stageSinceMs: startMs + 5 });
  t.is(stepRollout(passed, judged("late"), startMs + 6), passed);
});

test("a version that most of its edges can't serve is withdrawn, with the edge's reason", (t) => {
  const canary = stepRollout(begun(), sight([]), startMs);
  const failed = { failed: [{ edge: "eu/1", reason: "no memory" }] };
  t.is(stepRollout(canary, sight([], failed), startMs + FAILED_AFTER_MS - 1), canary);
  const stuck = stepRollout(canary, sight([], failed), startMs + FAILED_AFTER_MS);
  t.like(stuck, { phase: "withdrawing", reason: "eu/1 can't serve it: no memory" });
  // One of several may fail: the others show how the version does.
  const wave: RolloutState = { ...canary, phase: "wave", stage: 2, edges: all };
  const most = all.slice(1);
  const settled = stepRollout(wave, sight(most, failed), startMs + FAILED_AFTER_MS);
  t.is(stepRollout(settled, sight(most, failed), startMs + 60_000).phase, "watching");
});

test("when the canary dies another edge tries the version in its stead, twice at most", (t) => {
  const without = (gone: number) => ({ alive: all.slice(gone), ready: all.slice(gone) });
  const canary = stepRollout(begun(), sight([]), startMs);
  t.deepEqual(canary.edges, ["eu/1"]);
  const second = stepRollout(canary, sight([], without(1)), startMs + 5);
  t.like(second, { phase: "canary", stageSinceMs: startMs + 5, settledMs: null });
  t.deepEqual(second.edges, ["eu/1", "eu/2"]);
  const settled = stepRollout(second, sight(["eu/2"], without(1)), startMs + 9);
  t.is(settled.settledMs, startMs + 9);
  const third = stepRollout(settled, sight([], without(2)), startMs + 20);
  t.like(third, { stageSinceMs: startMs + 20, settledMs: null });
  t.deepEqual(third.edges, ["eu/1", "eu/2", "us/1"]);
  // It may be the version that ends them: the last edge doesn't get it.
  const atEnd = startMs + 20 + STAGE_TIMEOUT_MS;
  t.is(stepRollout(third, sight([], without(3)), atEnd - 1), third);
  const lost = stepRollout(third, sight([], without(3)), atEnd);
  t.is(lost.phase, "withdrawing");
  t.regex(lost.reason, /^none of eu\/1, eu\/2, us\/1 came/);
});

test("edges that leave are not waited for, and without any the version is withdrawn", (t) => {
  const wave: RolloutState = { ...begun(), phase: "wave", stage: 1, edges: ["eu/1", "us/1"] };
  const alone = { alive: ["us/1"], ready: ["us/1"] };
  const settled = stepRollout(wave, sight(["us/1"], alone), startMs);
  t.is(settled.settledMs, startMs);
  const gone = { alive: [], ready: [] };
  t.is(stepRollout(wave, sight([], gone), startMs + STAGE_TIMEOUT_MS - 1), wave);
  const lost = stepRollout(wave, sight([], gone), startMs + STAGE_TIMEOUT_MS);
  t.regex(lost.reason, /none of eu\/1, us\/1 came to serve it/);
  const never = stepRollout(begun(), sight([], gone), startMs + STAGE_TIMEOUT_MS);
  t.is(never.reason, "no edge was there to try it");
});

test("an operator rolls back without condemning, or has something else served", (t) => {
  const canary = stepRollout(begun(), sight([]), startMs);
  const back = stepRollout(canary, { kind: "roll-back", reason: "by hand" }, startMs);
  t.like(back, { phase: "withdrawing", isCondemned: false, reason: "by hand" });
  const other = stepRollout(canary, { kind: "supersede", reason: "m@3" }, startMs);
  t.like(other, { phase: "superseded", reason: "m@3" });
  t.is(stepRollout(canary, { kind: "enough" }, startMs), canary, "only watching can be cut short");
});

test("whatever happens in whatever order, a rollout keeps its promises", (t) => {
  const some = fc.subarray(all);
  const health = fc.constantFrom(enough, failing, [] as EdgeHealth[]);
  const seenEvent = fc
    .record({ alive: some, ready: some, serving: some, health, isFailing: fc.boolean() })
    .map(({ isFailing, ...rest }): RolloutEvent => {
      const failed = isFailing ? rest.alive.map((edge) => ({ edge, reason: "x" })) : [];
      const ready = rest.ready.filter((edge) => rest.alive.includes(edge));
      return { kind: "seen", sight: { ...rest, ready, failed } };
    });
  const event = fc.oneof(
    { weight: 20, arbitrary: seenEvent },
    { weight: 2, arbitrary: fc.constant<RolloutEvent>(sight(all)) },
    {
      weight: 1,
      arbitrary: fc.constantFrom<RolloutEvent>(
        { kind: "judged", reference: [], measured: [], refusal: "" },
        { kind: "withdrawn" },
        { kind: "enough" },
        { kind: "roll-back", reason: "x" },
        { kind: "supersede", reason: "y" },
      ),
    },
  );
  const timed = fc.tuple(event, fc.integer({ min: 0, max: 8_000 }));
  const first = fc.constantFrom("gating" as const, "canary" as const);
  const phases = new Set<string>();
  const law = fc.property(
    first,
    fc.array(timed, { maxLength: 60, size: "max" }),
    (phase, events) => {
      let state = begun(phase);
      let nowMs = startMs;
      for (const [happened, passedMs] of events) {
        nowMs += passedMs;
        const before = state;
        state = stepRollout(state, happened, nowMs);
        phases.add(state.phase);
        if (isEnded(before) && state !== before) return false;
        // Nobody who tries it is dropped but by taking it back from all.
        if (before.edges.some((edge) => !state.edges.includes(edge))) return false;
        if (
          before.phase === "withdrawing" &&
          !["withdrawing", "rolled-back"].includes(state.phase)
        ) {
          return false;
        }
        const isFirst = before.edges.length === 0 && state.edges.length > 0;
        if (isFirst && state.edges.length > plan.canaryEdges) return false;
        if (state.phase === "gating" && state.edges.length > 0) return false;
      }
      return isDeepStrictEqual(rolloutSchema.parse(state), state);
    },
  );
  t.notThrows(() => fc.assert(law, { seed: 9, numRuns: 1_000 }));
  const wanted = ["canary", "wave", "watching", "withdrawing", "promoted", "rolled-back"];
  t.true(
    wanted.every((phase) => phases.has(phase)),
    [...phases].join(),
  );
});
