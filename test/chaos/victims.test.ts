// Whom faults strike: somebody of the mesh, and somebody with streams when there is one.
import test from "ava";
import { meshLayout } from "../../deploy/local/layout.ts";
import { defaultShape } from "../../deploy/local/options.ts";
import { type FaultKind, faultKinds } from "./fault-schedule.ts";
import { chooseVictim } from "./victims.ts";

const layout = meshLayout(defaultShape);
const planned = (kind: FaultKind, draw: number) => ({ kind, draw, holdMs: 1, calmMs: 1 });
const draws = [0, 0.3, 0.6, 0.999];

test("every kind finds a victim at every draw", (t) => {
  for (const kind of faultKinds) {
    for (const draw of draws)
      t.not(chooseVictim(planned(kind, draw), layout, () => 0)?.name ?? "", "");
  }
});

test("an edge with streams midway is struck before those without", (t) => {
  for (const draw of draws) {
    const victim = chooseVictim(planned("edge-kill", draw), layout, (edge) =>
      edge === "eu-2" ? 1 : 0,
    );
    t.deepEqual(victim, {
      ...{ name: "eu-2", regions: ["eu"], edges: ["eu-2"], doors: ["eu-2"], watcher: "eu" },
    });
  }
});

test("a lost region takes its edges and all their doors with it", (t) => {
  const victim = chooseVictim(planned("region-loss", 0.5), layout, (edge) =>
    edge === "ap-1" ? 3 : 0,
  );
  t.deepEqual(victim?.edges, ["ap-1", "ap-2"]);
  t.deepEqual(victim?.doors, ["ap", "ap-1", "ap-2"]);
});

test("a fault that leaves the edge itself alone leaves its door up", (t) => {
  for (const kind of ["engine-kill", "link-black-hole", "drain"] as const) {
    t.deepEqual(chooseVictim(planned(kind, 0), layout, () => 0)?.doors, []);
  }
});

test("a partition is from one region to another", (t) => {
  const names = new Set(
    Array.from({ length: 60 }, (_, at) =>
      chooseVictim(planned("partition", at / 60), layout, () => 0),
    ).map((victim) => victim?.name),
  );
  t.deepEqual([...names].sort(), ["ap>eu", "ap>us", "eu>ap", "eu>us", "us>ap", "us>eu"]);
});

test("streams that fall with a door don't attract the blow to it", (t) => {
  const midwayAt = (edge: string, exceptDoors: readonly string[]) => {
    if (edge === "us-1") return exceptDoors.includes("us") ? 0 : 9;
    return edge === "eu-1" ? 1 : 0;
  };
  t.is(chooseVictim(planned("region-loss", 0), layout, midwayAt)?.name, "eu");
  t.is(chooseVictim(planned("engine-kill", 0), layout, midwayAt)?.name, "us-1");
});

test("spared regions are struck by nothing", (t) => {
  const spared = new Set(["us", "eu"]);
  for (const kind of faultKinds) {
    for (const draw of draws) {
      const victim = chooseVictim(planned(kind, draw), layout, () => 1, spared);
      t.deepEqual(victim?.regions.filter((region) => spared.has(region)) ?? [], []);
    }
  }
  const all = new Set(["us", "eu", "ap"]);
  t.is(
    chooseVictim(planned("edge-kill", 0), layout, () => 1, all),
    null,
  );
});
