// What a fault is said to have cost, from the lines of the load generators.
import test from "ava";
import type { EndLine, StartLine } from "../../../deploy/load/load-line.ts";
import { markdownTable, textTable } from "../../../deploy/rehearsal/cost-table.ts";
import { costOf, type FaultRecord, percentile } from "../../../deploy/rehearsal/fault-cost.ts";
import { reportOf } from "../../../deploy/rehearsal/report.ts";
import { StreamWatch } from "../../../deploy/rehearsal/stream-watch.ts";

const fault: FaultRecord = {
  ...{ name: "edge killed", victim: "us-1", edges: ["us-1"], doorOf: null, note: "" },
  ...{ dealtMs: 1000, noticedMs: null, wholeMs: 5000 },
};

function line(change: Partial<EndLine>): EndLine {
  return {
    ...{ event: "end", region: "us", id: 1, door: "sdk", outcome: "complete", failure: "" },
    ...{ edge: "us-1", servedIn: "us", version: "commands@1", moves: [], tokens: 9, refusals: 0 },
    ...{ openedMs: 500, firstMs: 700, endedMs: 2000 },
    ...change,
  } as EndLine;
}

const move = { fromEdge: "us-1", toEdge: "us-2", cause: "link-lost" };
const nearest = [{ region: "us", streams: 2, nearest: 2 }];

test("streams count that ran between the blow and the mesh being whole", (t) => {
  const ended = [
    line({ endedMs: 999 }),
    line({ openedMs: 5001, endedMs: 6000 }),
    line({}),
    line({ openedMs: 4000, firstMs: 4300, endedMs: 4900 }),
    line({ openedMs: 1500, firstMs: 1600, endedMs: 9000 }),
  ];
  const cost = costOf(fault, ended);
  t.like(cost, { streams: 3, complete: 3, moved: 0, lost: 0, fell: 0, detectionMs: null });
  t.deepEqual([cost.ttftP50Ms, cost.ttftP99Ms, cost.wholeAfterMs], [100, 300, 4000]);
});

test("a fault is detected by the first sign: a stream that goes on, or what the mesh says", (t) => {
  const ended = [
    line({ moves: [{ ...move, atMs: 1400 }] }),
    line({ moves: [{ ...move, atMs: 1250 }] }),
    line({ moves: [{ ...move, fromEdge: "us-3", atMs: 1100 }] }),
    line({ moves: [{ ...move, atMs: 900 }] }),
  ];
  t.like(costOf(fault, ended), { moved: 3, detectionMs: 250 });
  t.is(costOf({ ...fault, noticedMs: 1030 }, ended).detectionMs, 30);
});

test("a stream that breaks is lost, but for plain callers of the gateway that was killed", (t) => {
  const failure = "link-lost: the connection broke";
  const broken = line({ outcome: "lost", door: "http", region: "eu", failure });
  const killed = { ...fault, doorOf: "eu" };
  t.like(costOf(killed, [broken]), { lost: 0, fell: 1, detectionMs: 1000 });
  for (const [one, by] of [
    [broken, fault],
    [{ ...broken, region: "us" }, killed],
    [{ ...broken, door: "sdk" as const }, killed],
    [{ ...broken, failure: "internal: a bug" }, killed],
    [{ ...broken, outcome: "refused" as const }, killed],
  ] as const) {
    t.like(costOf(by, [one]), { lost: 1, fell: 0 });
    t.is(reportOf(nearest, [by], [one], []).missed.length, 1);
  }
  t.deepEqual(reportOf(nearest, [killed], [broken, line({})], []).missed, []);
});

test("a rehearsal without streams, or with far ones in the calm, isn't good", (t) => {
  t.is(reportOf(nearest, [], [], []).missed.length, 1);
  const far = [{ region: "eu", streams: 3, nearest: 2 }];
  t.regex(reportOf(far, [], [line({})], []).missed.join(), /2 of 3 streams from eu/);
  t.deepEqual(reportOf(nearest, [], [line({})], ["x"]).missed, ["x"]);
});

test("percentiles are nearest ranks, of nothing null", (t) => {
  t.is(percentile([], 0.5), null);
  t.is(percentile([3, 1, 2], 0.5), 2);
  t.is(percentile([3, 1, 2], 0.99), 3);
});

test("the table has a row for each fault, the same in both forms", (t) => {
  const costs = [costOf(fault, [line({})]), costOf({ ...fault, victim: "eu" }, [])];
  t.is(textTable(costs).split("\n").length, 3);
  const markdown = markdownTable(costs).split("\n");
  t.is(markdown.length, 4);
  const bars = markdown.map((row) => row.split("|").length);
  t.is(new Set(bars).size, 1);
  t.true(markdown[2]?.startsWith("| edge killed | us-1 | 1 | 1 | 0 | 0 | 0 | - | 4.0 |"));
});

test("the watch knows what runs, and which edge of a region is busiest", (t) => {
  const watch = new StreamWatch();
  const begin = (id: number, edge: string, door: StartLine["door"] = "sdk") =>
    watch.take(JSON.stringify({ event: "start", region: "us", id, door, edge, atMs: 1 }));
  begin(1, "us-1");
  begin(2, "us-2");
  begin(3, "us-2");
  begin(4, "eu-1");
  begin(5, "us-1", "http");
  t.is(watch.busiest("us"), "us-2");
  t.is(watch.busiest("ap"), undefined);
  watch.take(JSON.stringify(line({ id: 2 })));
  watch.take(JSON.stringify(line({ id: 3 })));
  t.is(watch.busiest("us"), "us-1");
  t.deepEqual([watch.open.length, watch.ended.length], [3, 2]);
  watch.take(JSON.stringify({ event: "ready", region: "us", atMs: 1 }));
  watch.take(JSON.stringify({ event: "done", region: "us", atMs: 1 }));
  t.true(watch.ready.has("us") && watch.done.has("us"));
  t.throws(() => watch.take("what is this"));
});
