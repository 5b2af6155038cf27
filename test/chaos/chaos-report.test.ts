// What a run's figures count, and that each target can be missed.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import type { Question } from "../../deploy/load/question.ts";
import { type Door, StreamLog } from "../../deploy/load/stream-log.ts";
import {
  FinishedSchema,
  FinishReason,
  GenerateRequestSchema,
  GenerateResponseSchema,
  MoveSchema,
  StartedSchema,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { type ChaosInput, percentiles, reportOf } from "./chaos-report.ts";
import type { FaultRecord } from "./fault-record.ts";

const question = {
  id: "asked",
  request: create(GenerateRequestSchema),
  isFree: true,
  isSteady: true,
};
const sdk: Door = { kind: "sdk", name: "sdk-1" };

interface Script {
  readonly door?: Door;
  readonly question?: Question;
  readonly openedMs?: number;
  /** Token positions and their times. */
  readonly tokens?: readonly (readonly [index: number, ms: number])[];
  readonly moves?: readonly { atToken: number; fromEdge: string }[];
  readonly end?: "finished" | "failed" | "refused";
  readonly text?: string;
}

function logOf(script: Script): StreamLog {
  const { door = sdk, openedMs = 0, tokens = [[0, 10]], moves = [], end = "finished" } = script;
  const log = new StreamLog(door, script.question ?? question, openedMs);
  const take = (event: Parameters<typeof create<typeof GenerateResponseSchema>>[1], ms: number) =>
    log.take(create(GenerateResponseSchema, event), ms);
  const lastMs = tokens.at(-1)?.[1] ?? openedMs;
  if (end === "refused") {
    log.fail("overloaded: full", lastMs);
    return log;
  }
  const started = create(StartedSchema, { edge: "us-1" });
  take({ event: { case: "started", value: started } }, openedMs);
  for (const [index, ms] of tokens) {
    take({ event: { case: "tokens", value: { index, ids: [index + 1], text: "x" } } }, ms);
  }
  if (end === "failed") log.fail("link-lost: gone", lastMs);
  else {
    const finished = create(FinishedSchema, {
      reason: FinishReason.STOP,
      completionTokens: log.ids.length,
      moves: moves.map((move) => create(MoveSchema, move)),
      text: script.text ?? "",
    });
    take({ event: { case: "finished", value: finished } }, lastMs);
  }
  return log;
}

function faultOf(fault: Partial<FaultRecord>): FaultRecord {
  return {
    kind: "edge-kill",
    victim: { name: "us-1", regions: ["us"], edges: ["us-1"], doors: ["us-1"], watcher: "us" },
    midway: 1,
    dealtMs: 100,
    healedMs: 5000,
    wholeMs: 6000,
    suspectedMs: null,
    problem: "",
    ...fault,
  };
}

function report(input: Partial<ChaosInput>) {
  const logs = input.logs ?? [logOf({})];
  return reportOf({
    seed: 1,
    seconds: 1,
    logs,
    faults: [],
    missing: new Set(),
    audit: { streams: logs.length, worstGap: 0, wrong: 0, truncated: 0 },
    undisturbed: new Map([["asked", "x"]]),
    crashes: [],
    ownStallMs: 0,
    ...input,
  });
}

test("an undisturbed run meets every target", (t) => {
  const { missed, requests, complete, identicalShare } = report({});
  t.deepEqual(missed, []);
  t.deepEqual([requests, complete, identicalShare], [1, 1, 1]);
});

test("each target can be missed, and says so", (t) => {
  const slow = faultOf({ suspectedMs: 2100 });
  const lostRegion = faultOf({
    kind: "region-loss",
    victim: { name: "us", regions: ["us"], edges: ["us-1"], doors: ["us"], watcher: "" },
  });
  const late = logOf({
    tokens: [
      [0, 50],
      [1, 1200],
    ],
    moves: [{ atToken: 1, fromEdge: "us-1" }],
  });
  const audit = { streams: 1, worstGap: 0, wrong: 0, truncated: 0 };
  const brace = new Map([["asked", "x{"]]);
  const twin = new Map([["asked", "xx"]]);
  const misses: [string, Partial<ChaosInput>, RegExp][] = [
    ["nothing ran", { logs: [] }, /no request/],
    ["incomplete", { logs: [logOf({ end: "failed" })] }, /1 acknowledged .* incomplete/],
    ["lost", { logs: [logOf({ tokens: [[1, 10]] })] }, /1 tokens were lost/],
    [
      "doubled",
      {
        logs: [
          logOf({
            tokens: [
              [0, 10],
              [0, 11],
            ],
          }),
        ],
        undisturbed: twin,
      },
      /1 tokens were doubled/,
    ],
    [
      "a misfit",
      {
        logs: [logOf({ question: { ...question, isFree: false }, text: "{" })],
        undisturbed: brace,
      },
      /don't fit their schema/,
    ],
    ["wrong", { audit: { ...audit, wrong: 1 } }, /no argmax/],
    ["truncated", { audit: { ...audit, truncated: 1 } }, /the model goes on/],
    ["different", { undisturbed: new Map([["asked", "y"]]) }, /byte-identical/],
    ["noticed late", { faults: [slow] }, /detection takes 2000 ms/],
    [
      "a region's loss",
      { faults: [lostRegion], logs: [late], undisturbed: twin },
      /loss costs 1100 ms/,
    ],
    ["a problem", { faults: [faultOf({ problem: "not whole" })] }, /edge-kill of us-1: not whole/],
    ["a crash", { crashes: ["eu ended by itself"] }, /eu ended by itself/],
  ];
  for (const [what, input, pattern] of misses) {
    const { missed } = report(input);
    t.is(missed.length, 1, `${what}: ${missed}`);
    t.regex(missed[0] ?? "", pattern, what);
  }
});

test("a plain caller that falls with its own door is counted apart; the SDK never is", (t) => {
  const faults = [faultOf({})];
  const plain: Door = { kind: "edge", name: "us-1" };
  const cutOff = { end: "failed", openedMs: 50, tokens: [[0, 150]] } as const;
  t.like(report({ faults, logs: [logOf({}), logOf({ ...cutOff, door: plain })] }), {
    requests: 1,
    fellWithTheirDoor: 1,
    missed: [],
  });
  t.is(report({ faults, logs: [logOf(cutOff)] }).fellWithTheirDoor, 0);
  const elsewhere = { ...cutOff, door: { kind: "edge", name: "eu-1" } } as const;
  t.is(report({ faults, logs: [logOf(elsewhere)] }).fellWithTheirDoor, 0);
  const before = { ...cutOff, door: plain, openedMs: 10, tokens: [[0, 50]] } as const;
  t.is(report({ faults, logs: [logOf(before)] }).fellWithTheirDoor, 0);
});

test("a refusal before anything was delivered breaks no promise", (t) => {
  const { missed, requests, acknowledged, refused } = report({
    logs: [logOf({}), logOf({ end: "refused" })],
  });
  t.deepEqual(missed, []);
  t.deepEqual([requests, acknowledged], [2, 1]);
  t.deepEqual(refused, { "overloaded: full": 1 });
});

test("detection is the first sign: membership's doubt or a stream that went on", (t) => {
  const moved = logOf({
    tokens: [
      [0, 50],
      [1, 700],
    ],
    moves: [{ atToken: 1, fromEdge: "us-1" }],
  });
  const logs = [moved];
  t.is(report({ logs, faults: [faultOf({ suspectedMs: 400 })] }).detectionMs.p50, 300);
  t.is(report({ logs, faults: [faultOf({ suspectedMs: 900 })] }).detectionMs.p50, 600);
  t.is(report({ logs, faults: [faultOf({ suspectedMs: null })] }).faults[0]?.moved, 1);
  t.is(report({ faults: [faultOf({})] }).detectionMs.count, 0, "no sign is no figure");
  const announced = faultOf({ kind: "drain", suspectedMs: 400 });
  t.is(report({ logs, faults: [announced] }).detectionMs.count, 0, "nor is what was announced");
});

test("a first token counts as disturbed from the blow until the mesh is whole", (t) => {
  const faults = [faultOf({ dealtMs: 100, healedMs: 200, wholeMs: 300 })];
  const at = (openedMs: number, firstMs: number) => logOf({ openedMs, tokens: [[0, firstMs]] });
  const { ttftMs } = report({ faults, logs: [at(0, 90), at(0, 110), at(290, 310), at(310, 320)] });
  t.is(ttftMs.calm.count, 2);
  t.is(ttftMs.disturbed.count, 2);
});

test("percentiles are nearest ranks", (t) => {
  t.deepEqual(percentiles([]), { count: 0, p50: null, p99: null });
  t.deepEqual(percentiles([3, 1, 2]), { count: 3, p50: 2, p99: 3 });
  const hundred = Array.from({ length: 100 }, (_, at) => at + 1);
  t.deepEqual(percentiles(hundred), { count: 100, p50: 50, p99: 99 });
});
