// The policies that ours is compared with do what their names say, on a handful of edges.
import test from "ava";
import { edgeId } from "../../../proto/ids.ts";
import { anyPolicy, plainRequest, type RouteRequest } from "../../../region/route/route-request.ts";
import { heartbeatOf, modelState } from "../../region/heartbeat-maker.ts";
import { RandomStreams } from "../kernel/random-streams.ts";
import { createRouter, type PolicyName } from "./policies.ts";
import type { SimRouter } from "./sim-router.ts";

const traits = { jurisdictions: [], gramsCo2PerKwh: 0, prefixBlocksMax: 1000 };
const edges = ["e1", "e2", "e3"].map(edgeId);
const request = plainRequest("m", 100);
const noneExcluded: ReadonlySet<string> = new Set();

function routerOf(policy: PolicyName): SimRouter {
  const router = createRouter(policy, "us", traits);
  for (const edge of edges) {
    router.beat(edge, heartbeatOf(edge, 1), 0);
    router.setStatus(edge, "ready", "");
  }
  return router;
}

const picksOf = (router: SimRouter, count: number, asked: RouteRequest = request): string[] => {
  const random = new RandomStreams(1).of("picks");
  return Array.from(
    { length: count },
    () => router.decide(asked, 0, random, noneExcluded).chosen?.edge ?? "none",
  );
};

test("round-robin takes one after another, and goes past those that are excluded", (t) => {
  const router = routerOf("round-robin");
  t.deepEqual(picksOf(router, 4), ["e1", "e2", "e3", "e1"]);
  const { chosen } = router.decide(request, 0, () => 0, new Set(["us/e2"]));
  t.is(chosen?.edge, "e3");
});

test("random takes each of them about equally often", (t) => {
  const picks = picksOf(routerOf("random"), 900);
  for (const edge of edges) {
    const count = picks.filter((pick) => pick === edge).length;
    t.true(count > 240 && count < 360);
  }
});

test("least-request takes the one with fewest under way", (t) => {
  const router = routerOf("least-request");
  const first = router.dispatched(edges[0]!, "m", request, 0);
  router.dispatched(edges[2]!, "m", request, 0);
  t.is(picksOf(router, 1)[0], "e2");
  router.dispatched(edges[1]!, "m", request, 0);
  first.ended(1, { kind: "cancelled" });
  t.is(picksOf(router, 1)[0], "e1");
});

test("power-of-two never takes the fullest when it drew another beside it", (t) => {
  const router = routerOf("power-of-two");
  for (let k = 0; k < 3; k += 1) router.dispatched(edges[0]!, "m", request, 0);
  const share = picksOf(router, 900).filter((pick) => pick === "e1").length / 900;
  t.true(share < 0.2, `${share}`); // only when it is drawn twice: one in nine
});

test("session-hash keeps a session where it is, and spreads sessions", (t) => {
  const router = routerOf("session-hash");
  const homes = new Set<string>();
  for (let k = 0; k < 30; k += 1) {
    const picks = picksOf(router, 3, { ...request, sessionId: `s${k}` });
    t.is(new Set(picks).size, 1);
    homes.add(picks[0]!);
  }
  t.is(homes.size, 3);
});

test("llm-d weighs the prefix against queue and load as published", (t) => {
  const router = routerOf("llm-d");
  const asked = { ...request, blocks: [1, 2, 3, 4], policy: anyPolicy };
  const busy = { active: 4, queued: 0, prefixes: [1, 2, 3, 4] };
  const { active, queued, prefixes } = busy;
  const digest = { $typeName: "isthmus.v1.PrefixDigest" as const, blocks: prefixes };
  const holding = (waiting: number) =>
    heartbeatOf("e2", 2, { models: [modelState({ active, queued: waiting, prefixes: digest })] });
  router.beat(edges[1]!, holding(queued), 0);
  t.is(picksOf(router, 1, asked)[0], "e2"); // 3 + 2 + 1 against 0 + 2 + 2
  router.beat(edges[1]!, holding(5), 0);
  // 3 + 0 + 1 against 0 + 2 + 2: a tie is drawn.
  t.is(new Set(picksOf(router, 30, asked)).size, 3);
});

test("no policy takes an edge that is full, not ready or excluded", (t) => {
  for (const policy of ["ours", "round-robin", "random", "llm-d", "session-hash"] as const) {
    const router = routerOf(policy);
    router.setStatus(edges[0]!, "suspect", "silent");
    const full = modelState({ active: 8, queued: 32, slots: 8, queueMax: 32 });
    router.beat(edges[1]!, heartbeatOf("e2", 2, { models: [full] }), 0);
    t.deepEqual(new Set(picksOf(router, 20)), new Set(["e3"]), policy);
    const { chosen } = router.decide(request, 0, () => 0, new Set(["us/e3"]));
    t.is(chosen, null, policy);
  }
});
