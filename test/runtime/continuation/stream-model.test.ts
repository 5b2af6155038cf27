// The core of a stream against every order of events, faults, silences, answers and hedges that a
// schedule can bring about.
import test from "ava";
import fc from "fast-check";
import {
  attemptOf,
  COMPLETION_TOKENS,
  edgeOf,
  PROMPT_TOKENS,
  type SourcePlan,
  type Step,
  StreamWorld,
} from "./stream-world.ts";

const ends = [
  "finish",
  "finish",
  "hang",
  "hang",
  "gap",
  "silent-end",
  "link-lost",
  "engine-crashed",
  "draining",
  "overloaded",
  "model-absent",
  "context-length-exceeded",
] as const satisfies readonly SourcePlan["end"][];

const plan: fc.Arbitrary<SourcePlan> = fc
  .record({
    batches: fc.integer({ min: 0, max: COMPLETION_TOKENS }),
    end: fc.constantFrom(...ends),
    hedges: fc.constantFrom(true, true, false),
  })
  .map(({ hedges, ...rest }) => (hedges ? { ...rest, hedgeAfterMs: 50 } : rest));

const which = fc.nat({ max: 8 });
const answer = fc.oneof(
  fc.constant(null),
  fc.record({
    phase: fc.constantFrom("waiting" as const, "reading" as const, "generating" as const),
    silentMs: fc.constantFrom(0, 400, 1500, 60_000),
  }),
);
const step: fc.Arbitrary<Step> = fc.oneof(
  { arbitrary: fc.record({ kind: fc.constant("speak" as const), which }), weight: 6 },
  {
    arbitrary: fc.record({
      kind: fc.constant("pick" as const),
      found: fc.oneof({ arbitrary: fc.constant(true), weight: 5 }, fc.constant(false)),
    }),
    weight: 4,
  },
  { arbitrary: fc.constant({ kind: "tick" as const }), weight: 8 },
  { arbitrary: fc.record({ kind: fc.constant("overdue" as const), which }), weight: 8 },
  { arbitrary: fc.record({ kind: fc.constant("answer" as const), which, answer }), weight: 2 },
  { arbitrary: fc.record({ kind: fc.constant("move-away" as const), which }), weight: 1 },
  { arbitrary: fc.constant({ kind: "waited" as const }), weight: 1 },
);

test("whatever happens in whatever order, a stream ends once and no token is wrong", (t) => {
  let hedged = 0;
  let moved = 0;
  fc.assert(
    fc.property(
      fc.array(plan, { maxLength: 8 }),
      fc.array(step, { maxLength: 120 }),
      (plans, steps) => {
        const world = new StreamWorld(plans);
        for (const one of steps) world.step(one);
        world.finish();
        const { caller, settled } = world;
        t.deepEqual([...world.trouble, ...caller.trouble], []);
        t.is(settled?.fault === null, caller.finished !== null);
        if (caller.finished?.case !== "finished") return;
        const end = caller.finished.value;
        t.is(caller.ids.length, COMPLETION_TOKENS);
        t.is(end.completionTokens, COMPLETION_TOKENS, "each token is counted once");
        t.is(end.promptTokens, end.moves.length > 0 || end.hedges > 0 ? PROMPT_TOKENS : 99);
        t.true(end.hedges <= 1);
        t.is(end.hedgedTokens, world.losersTokens);
        checkMoves(world);
        hedged += end.hedges;
        moved += end.moves.length;
      },
    ),
    { seed: 20261203, numRuns: 4000 },
  );
  t.log(`${hedged} hedges and ${moved} moves`);
  t.true(hedged > 100, "hedges were among what was tried");
  t.true(moved > 1000, "and so were moves");
});

/** The moves lead from the edge that the caller was told of to the one that ended the stream. */
function checkMoves({ caller, sources, trouble }: StreamWorld): void {
  if (caller.finished?.case !== "finished") return;
  const { moves, text } = caller.finished.value;
  let at = caller.startedBy;
  for (const { fromEdge, toEdge, fromRegion, toRegion } of moves) {
    if (fromEdge !== at) trouble.push(`a move from ${fromEdge}, which was at ${at}`);
    if (fromRegion !== fromEdge.replace("edge", "region")) trouble.push("a wrong region left");
    if (toRegion !== toEdge.replace("edge", "region")) trouble.push("a wrong region found");
    at = toEdge;
  }
  const last = sources.find(({ attempt }) => text === `end ${attempt}`);
  if (at !== edgeOf(last?.key ?? "")) trouble.push("the last move leads elsewhere");
  // One source after another: none is heard again after a later one was.
  const order = caller.ids.map(attemptOf);
  const changes = order.filter((attempt, k) => k > 0 && attempt !== order[k - 1]).length;
  if (new Set(order).size !== changes + (order.length > 0 ? 1 : 0)) trouble.push("mixed sources");
  if (trouble.length > 0) throw new Error(trouble.join("; "));
}
