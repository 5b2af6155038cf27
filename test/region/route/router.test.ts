// Filter, score, pick: what is out is out for a reason, and the quickest wins.
import test from "ava";
import fc from "fast-check";
import { ModelStatus } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { predict, totalMs } from "../../../region/route/prediction.ts";
import type { RouteRequest, RouteTarget } from "../../../region/route/route-target.ts";
import { decide, NEAR_EQUAL } from "../../../region/route/router.ts";
import { modelState, targetOf } from "../heartbeat-maker.ts";

const request: RouteRequest = { model: "m", version: "", preferredVersion: "", promptTokens: 100 };
const none: ReadonlySet<string> = new Set();
const first = () => 0;

const rejections: readonly [string, Partial<RouteTarget>][] = [
  ["model-absent", { model: undefined }],
  ["status", { status: "suspect", statusReason: "its trunk is down" }],
  ["status", { status: "draining" }],
  ["model-not-ready", { model: modelState({ status: ModelStatus.LOADING }) }],
  ["full", { model: modelState({ active: 8, queued: 32 }) }],
  ["full", { unreported: 40 }],
];
for (const [rejection, init] of rejections) {
  test(`an edge that is out (${rejection}, ${Object.keys(init)}) is never chosen`, (t) => {
    const { chosen, assessments } = decide([targetOf("a", init)], request, none, first);
    t.is(chosen, null);
    const [assessment] = assessments;
    t.is(assessment?.kind === "rejected" ? assessment.rejection : "", rejection);
  });
}

test("a pinned version filters, the version that began a stream is preferred", (t) => {
  const old = targetOf("a", { model: modelState({ version: "m@1" }), rttMs: 5 });
  const fresh = targetOf("b", { model: modelState({ version: "m@2" }) });
  const pick = (more: Partial<RouteRequest>) =>
    decide([old, fresh], { ...request, ...more }, none, first).chosen?.target.edge;
  t.is(pick({ version: "m@1" }), "a");
  t.is(pick({ preferredVersion: "m@1" }), "a");
  t.is(pick({ version: "m@3" }), undefined);
});

test("what was tried for a request isn't chosen again", (t) => {
  const targets = [targetOf("a"), targetOf("b", { rttMs: 500 })];
  t.is(decide(targets, request, new Set(["us/a"]), first).chosen?.target.edge, "b");
});

test("each term makes an edge worse: round trip, queue, prefill, slow decode, failures", (t) => {
  const base = targetOf("a");
  const of = (target: RouteTarget) => totalMs(predict(target, target.model!, request));
  const worse: Partial<RouteTarget>[] = [
    { rttMs: 50 },
    { model: modelState({ active: 8, queued: 3, remainingTokensMean: 50 }) },
    { model: modelState({ prefillTokensPerS: 100 }) },
    { model: modelState({ decodeTokensPerS: 10 }) },
    { penaltyMs: 2000 },
    { unreported: 6 },
  ];
  for (const init of worse) t.true(of(targetOf("a", init)) > of(base), Object.keys(init)[0]);
  t.true(of(targetOf("a", { cachedTokens: 90 })) < of(base), "a cached prefix makes it better");
});

test("an edge that hasn't measured itself gets work, and so comes to measure itself", (t) => {
  const measured = targetOf("a", { rttMs: 3 });
  const fresh = targetOf("b", { model: modelState({ prefillTokensPerS: 0, decodeTokensPerS: 0 }) });
  t.is(decide([measured, fresh], request, none, first).chosen?.target.edge, "a");
  t.is(decide([measured, fresh], request, none, () => 0.99).chosen?.target.edge, "b");
});

test("what was sent since the report counts as if reported", (t) => {
  const full = { active: 8, remainingTokensMean: 100 };
  const reported = targetOf("a", { model: modelState({ ...full, queued: 4 }) });
  const sent = targetOf("a", { model: modelState(full), unreported: 4 });
  const queueOf = (target: RouteTarget) => predict(target, target.model!, request).queueMs;
  t.is(queueOf(sent), queueOf(reported));
});

test("the choice is within ten per cent of the best, and all such are chosen in turn", (t) => {
  const targets = fc.array(fc.record({ rttMs: fc.double({ min: 0, max: 300, noNaN: true }) }), {
    minLength: 1,
    maxLength: 12,
  });
  fc.assert(
    fc.property(targets, (inits) => {
      const list = inits.map((init, k) => targetOf(`e${k}`, init));
      const totals = list.map((target) => totalMs(predict(target, target.model!, request)));
      const best = Math.min(...totals);
      const near = list.filter((_, k) => totals[k]! <= best * NEAR_EQUAL);
      const seen = near.map(
        (_, k) => decide(list, request, none, () => k / near.length).chosen?.target.edge,
      );
      t.deepEqual(seen, near.map(({ edge }) => edge) as typeof seen);
    }),
    { seed: 5, numRuns: 500 },
  );
});
