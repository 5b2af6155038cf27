// The decision on replicas, second by second over hand-made loads.
import test from "ava";
import type { ModelFacts } from "../../../region/scaling/model-facts.ts";
import {
  decideReplicas,
  type ScalingDecision,
  ScalingMemory,
} from "../../../region/scaling/scaling-decision.ts";
import type { ScalingRules } from "../../../region/scaling/scaling-rules.ts";

const MINUTE_MS = 60_000;
const rules: ScalingRules = {
  ttftTargetMs: 2000,
  replicasMin: 1,
  replicasMax: 10,
  idleMs: 30 * MINUTE_MS,
  stabiliseMs: 5 * MINUTE_MS,
};

/** A region whose edges are as many as were asked for, at once. */
class Scene {
  readonly memory = new ScalingMemory(0);
  nowMs = 0;
  facts: ModelFacts;
  told: ScalingDecision | null = null;
  readonly rules: ScalingRules;

  constructor(init: Partial<ModelFacts> = {}, own: Partial<ScalingRules> = {}) {
    this.rules = { ...rules, ...own };
    this.facts = {
      ...{ ready: 1, stored: 0, starting: 0, active: 0, queued: 0, held: 0 },
      ...{ ended: 0, turnedAway: 0, routed: 0, late: 0 },
      ...{ slotsPerEdge: 4, serviceMs: 2000, idleTtftMs: 100, startUpMs: 20_000 },
      ...init,
    };
  }

  get replicas(): number {
    return this.told?.replicas ?? -1;
  }

  /** Lets seconds pass in each of which so many requests come, and end. */
  pass(seconds: number, perS = 0, change: Partial<ModelFacts> = {}): number {
    for (let at = 0; at < seconds; at += 1) {
      this.nowMs += 1000;
      const { ended, routed } = this.facts;
      const counts = { ended: ended + perS, routed: routed + perS };
      this.facts = { ...this.facts, ...counts, ...change };
      this.told = decideReplicas(this.memory, this.facts, this.rules, this.nowMs);
    }
    return this.replicas;
  }

  /** Edges follow what was told. */
  follow(seconds: number, perS = 0): number {
    for (let at = 0; at < seconds; at += 1) {
      this.pass(1, perS);
      this.facts = { ...this.facts, ready: this.replicas };
    }
    return this.replicas;
  }
}

test("more load asks for more edges within seconds, and never for more than allowed", (t) => {
  const scene = new Scene();
  t.is(scene.follow(60, 1), 1);
  t.true(scene.follow(15, 8) >= 4);
  t.is(scene.follow(30, 100), 10);
  t.regex(scene.told?.reason ?? "", /10 is the most allowed/);
});

test("edges go only when the last five minutes didn't need them", (t) => {
  const scene = new Scene();
  scene.follow(90, 8);
  const busy = scene.replicas;
  t.true(busy >= 4);
  t.is(scene.follow(290, 1), busy);
  t.regex(scene.told?.reason ?? "", /^kept: the last 5.0 min needed them/);
  t.is(scene.follow(120, 1), 1);
});

test("a load that swings about one edge's worth doesn't make edges come and go", (t) => {
  const scene = new Scene();
  let changes = 0;
  let before = scene.follow(60, 4);
  for (let minute = 0; minute < 120; minute += 1) {
    const replicas = scene.follow(60, minute % 2 === 0 ? 7 : 9);
    if (replicas !== before) changes += 1;
    before = replicas;
  }
  t.true(changes <= 2, `${changes} changes`);
});

test("a model sleeps once nobody has asked for long enough, not before", (t) => {
  const scene = new Scene({}, { replicasMin: 0, idleMs: 10 * MINUTE_MS });
  scene.follow(30, 1);
  t.is(scene.follow(9 * 60), 1);
  t.is(scene.follow(2 * 60), 0);
  t.regex(scene.told?.reason ?? "", /asleep: nobody asked for 1\d min/);
  t.is(new Scene({ ready: 3 }, { idleMs: MINUTE_MS }).follow(20 * 60), 1);
});

test("the first request that waits wakes a sleeping model at once", (t) => {
  const scene = new Scene({ ready: 0 }, { replicasMin: 0 });
  t.is(scene.pass(60), 0);
  t.is(scene.pass(1, 0, { held: 1 }), 1);
  t.regex(scene.told?.reason ?? "", /1 requests wait for an edge to come up/);
});

test("what other regions serve for it wakes a sleeping model when it is worth an edge", (t) => {
  const rare = new Scene({ ready: 0 }, { replicasMin: 0 });
  for (let at = 0; at < 10; at += 1) {
    rare.pass(1, 0, { turnedAway: at });
    t.is(rare.pass(60), 0);
  }
  const much = new Scene({ ready: 0 }, { replicasMin: 0 });
  for (let at = 1; at <= 120; at += 1) much.pass(1, 0, { turnedAway: at });
  t.true(much.replicas >= 1);
});

test("edges that start slowly aren't ordered again for the same waiting requests", (t) => {
  const scene = new Scene({ startUpMs: 120_000 });
  scene.follow(120, 1);
  // Four a second come and only two can be served: the queue grows for two minutes.
  let queued = 0;
  let ordered = 0;
  for (let at = 0; at < 120; at += 1) {
    queued += 2;
    scene.pass(1, 2, { queued, starting: Math.max(0, ordered - 1), active: 4 });
    ordered = Math.max(ordered, scene.replicas);
  }
  // Two edges for the load, and as many as clear the queue in the time that a start takes.
  t.true(ordered <= 6, `${ordered} ordered`);
  t.true(ordered >= 3, `${ordered} ordered`);
});

test("too many late first tokens ask for one more, then wait a minute for what it does", (t) => {
  const scene = new Scene({ ready: 2 });
  scene.pass(90, 1);
  const late = () => ({ late: scene.facts.late + 1 });
  for (let at = 0; at < 20; at += 1) scene.pass(1, 1, late());
  t.is(scene.replicas, 3);
  t.regex(scene.told?.reason ?? "", /% predicted later than 2.0 s/);
  scene.facts = { ...scene.facts, ready: 3 };
  for (let at = 0; at < 40; at += 1) scene.pass(1, 1, late());
  t.is(scene.replicas, 3);
  for (let at = 0; at < 40; at += 1) scene.pass(1, 1, late());
  t.is(scene.replicas, 4);
});

test("a gateway that has just started keeps what there is", (t) => {
  const scene = new Scene({ ready: 7 });
  t.is(scene.pass(1), 7);
  t.is(scene.pass(280), 7);
  t.true(scene.pass(60) < 7);
});

test("a step is one that a HorizontalPodAutoscaler takes", (t) => {
  const scene = new Scene({ ready: 20 }, { replicasMax: 100, replicasMin: 20 });
  scene.pass(1);
  for (let perS = 30; perS < 120; perS += 1) {
    const before = scene.replicas;
    const now = scene.follow(20, perS);
    if (now > before) t.true(now / before > 1.1, `${before} to ${now}`);
  }
});
