// One alert a model: raised once, told in summaries and metrics, taken back once all is calm.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import { pino } from "pino";
import { DriftScoreSchema, RegionSummarySchema } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { DriftWatch } from "../../../region/drift/drift-watch.ts";
import { topologyOf } from "../../../region/gateway/topology.ts";
import type { PeerRegistry } from "../../../region/spill/peer-registry.ts";
import { createMetrics } from "../../../runtime/metrics.ts";

function setUp() {
  const logged: { readonly level: number; readonly msg: string }[] = [];
  const log = pino({ level: "info" }, { write: (line: string) => logged.push(JSON.parse(line)) });
  const metrics = createMetrics({});
  const watch = new DriftWatch({ log, metrics });
  const tell = (edge: string, score: number, model = "m") => {
    watch.take(edge, [create(DriftScoreSchema, { model, score, threshold: 0.25, inputs: 64 })]);
  };
  const metric = async (name: string) => {
    const line = (await metrics.text()).split("\n").find((each) => each.startsWith(`${name}{`));
    return line?.replace(/^[^{]*/, "");
  };
  const summary = () => {
    const told = create(RegionSummarySchema, {
      region: "us",
      models: [{ model: "m" }, { model: "calm" }],
      edges: ["us-1", "us-2", "us-3"].map((edge) => ({ edge, status: "ready" })),
    });
    watch.tellIn(told);
    return told;
  };
  return { watch, tell, logged, metric, summary };
}

test("an alert is raised once, counts its edges, and ends when the last is calm", async (t) => {
  const { tell, watch, logged, metric } = setUp();
  tell("us-1", 0.2);
  t.is(watch.alertOf("m"), null);
  t.is(logged.length, 0);
  tell("us-1", 0.4);
  tell("us-2", 0.3);
  tell("us-1", 0.41);
  t.deepEqual(watch.alertOf("m")?.edges, ["us-1", "us-2"]);
  t.true(Math.abs((watch.alertOf("m")?.worst.score ?? 0) - 0.41) < 1e-6);
  t.is(await metric("isthmus_drift_edges"), '{model="m"} 2');
  t.deepEqual(
    logged.map(({ level }) => level),
    [40],
  );
  // Just below the threshold it is not calm yet.
  tell("us-1", 0.24);
  tell("us-2", 0.1);
  t.deepEqual(watch.alertOf("m")?.edges, ["us-1"]);
  tell("us-1", 0.22);
  t.is(watch.alertOf("m"), null);
  t.is(await metric("isthmus_drift_edges"), '{model="m"} 0');
  t.deepEqual(
    logged.map(({ level }) => level),
    [40, 30],
  );
  tell("us-1", 0.24);
  t.is(watch.alertOf("m"), null, "and below it, it is not raised again");
});

test("a beat that tells nothing changes nothing; an edge that is gone takes its alert", (t) => {
  const { tell, watch, logged } = setUp();
  tell("us-1", 0.9);
  watch.take("us-1", []);
  t.truthy(watch.alertOf("m"));
  watch.forget("us-2");
  watch.forget("us-1");
  t.is(watch.alertOf("m"), null);
  t.is(logged.length, 2);
  tell("us-1", 0.9);
  tell("us-1", 0.1, "other");
  t.is(watch.alertOf("m"), null, "a model that it tells of no more is none of its own");
});

test("summaries tell scores and alerts, topologies the models that have drifted", async (t) => {
  const { tell, summary, metric } = setUp();
  tell("us-1", 0.5);
  tell("us-2", 0.75);
  tell("us-3", 0.125);
  const told = summary();
  t.deepEqual(
    told.edges.map(({ drift }) => drift.map(({ score }) => score)),
    [[0.5], [0.75], [0.125]],
  );
  t.like(told.models[0], { edgesDrifting: 2, drift: { score: 0.75, threshold: 0.25 } });
  t.like(told.models[1], { edgesDrifting: 0, drift: undefined });
  t.is(await metric("isthmus_drift_score_bits"), '{model="m"} 0.75');
  const peers = { list: () => [] } as unknown as PeerRegistry;
  t.deepEqual(
    topologyOf(told, peers).regions[0]?.edges.map(({ driftingModels }) => driftingModels),
    [["m"], ["m"], []],
  );
});
