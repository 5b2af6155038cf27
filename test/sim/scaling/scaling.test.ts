// The real decision on replicas over simulated traffic: what always holds, and how it stands beside
// a HorizontalPodAutoscaler on CPU.
import test from "ava";
import { cpuAutoscaler, ours } from "./controllers.ts";
import { runScaling } from "./scaling-run.ts";
import { type Traffic, traffics } from "./traffic.ts";

const seeds = [1, 2, 3] as const;

function named(name: string, hours: number): Traffic {
  const traffic = traffics.find((one) => one.name === name);
  if (traffic === undefined) throw new Error(`no traffic ${name}`);
  return { ...traffic, hours };
}

for (const [name, hours] of [
  ["day", 1],
  ["flash-crowd", 1],
  ["cold-model", 12],
] as const) {
  test(`${name}: never beyond the bounds, and no request without an outcome`, (t) => {
    for (const seed of seeds) {
      const traffic = named(name, hours);
      const told: number[] = [];
      const run = runScaling(
        traffic,
        ours((replicas) => told.push(replicas)),
        seed,
      );
      t.true(told.every((count) => count >= traffic.replicasMin && count <= traffic.replicasMax));
      t.true(run.replicas.every((count) => count <= traffic.replicasMax));
      t.is(run.served + run.refused, run.requests);
    }
  });
}

test("a day in an hour: no more misses than by an autoscaler, at no more cost, few turns", (t) => {
  for (const seed of seeds) {
    const traffic = named("day", 1);
    const own = runScaling(traffic, ours(), seed);
    // CPU doesn't tell how many slots are in use; this one is told. 50 % is the documented example.
    const slots = runScaling(traffic, cpuAutoscaler({ target: 0.5, reads: "slots" }), seed);
    const cpu = runScaling(traffic, cpuAutoscaler({ target: 0.7, reads: "busy" }), seed);
    const told = `seed ${seed}: ${own.missShare} for ${own.podHours} h`;
    t.true(own.missShare <= slots.missShare, `${told}; ${slots.missShare}`);
    t.true(own.podHours <= slots.podHours, `${told}; ${slots.podHours} h`);
    t.true(own.podHours <= cpu.podHours / 3, `${told}; ${cpu.podHours} h on CPU`);
    t.true(own.missShare <= 0.05, told);
    t.true(own.turns <= 4, `${told}, ${own.turns} turns`);
  }
});

test("a flash crowd: a third fewer misses than when slots are told, for what it costs", (t) => {
  for (const seed of seeds) {
    const traffic = named("flash-crowd", 1);
    const own = runScaling(traffic, ours(), seed);
    const slots = runScaling(traffic, cpuAutoscaler({ target: 0.5, reads: "slots" }), seed);
    const told = `seed ${seed}: ${own.missShare} for ${own.podHours} h`;
    t.true(own.missShare <= slots.missShare * 0.67, `${told}; ${slots.missShare}`);
    t.true(own.podHours <= slots.podHours * 1.03, `${told}; ${slots.podHours} h`);
    t.true(own.turns <= 4, `${told}, ${own.turns} turns`);
  }
});

test("a model that sleeps between rare requests costs a fraction, and serves every one", (t) => {
  for (const seed of seeds) {
    const traffic = named("cold-model", 24);
    const own = runScaling(traffic, ours(), seed);
    const cpu = runScaling(traffic, cpuAutoscaler({ target: 0.7, reads: "busy" }), seed);
    t.is(own.refused, 0);
    t.true(own.held > 0);
    t.true(own.podHours < cpu.podHours / 3, `${own.podHours} of ${cpu.podHours} h`);
  }
});
