// The longest wait of each stream, and what was going on meanwhile.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import { StreamLog } from "../../deploy/load/stream-log.ts";
import {
  GenerateRequestSchema,
  GenerateResponseSchema,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { FaultRecord } from "./fault-record.ts";
import { longestStalls } from "./stall.ts";

const question = { id: "q", request: create(GenerateRequestSchema), isFree: true, isSteady: true };

function logOf(openedMs: number, ...tokenMs: number[]): StreamLog {
  const log = new StreamLog({ kind: "gateway", name: "us" }, question, openedMs);
  const take = (event: Parameters<typeof create<typeof GenerateResponseSchema>>[1], ms: number) =>
    log.take(create(GenerateResponseSchema, event), ms);
  take({ event: { case: "started", value: { edge: "us-1" } } as never }, openedMs);
  for (const [index, ms] of tokenMs.entries()) {
    take({ event: { case: "tokens", value: { index, ids: [1] } } as never }, ms);
  }
  take({ event: { case: "finished", value: {} } as never }, (tokenMs.at(-1) ?? openedMs) + 10);
  return log;
}

const fault: FaultRecord = {
  kind: "edge-freeze",
  victim: { name: "us-1", regions: ["us"], edges: ["us-1"], doors: [], watcher: "us" },
  ...{ midway: 1, dealtMs: 3000, healedMs: 4000, wholeMs: 4500, suspectedMs: null, problem: "" },
};

test("the longest wait is found wherever it is, the longest first", (t) => {
  const stalls = longestStalls([logOf(0, 1200, 1300), logOf(0, 10, 20, 2500, 2600)], []);
  t.deepEqual(
    stalls.map(({ ms, atToken }) => [ms, atToken]),
    [
      [2480, 2],
      [1200, 0],
    ],
  );
});

test("a wait shorter than a second is not worth telling", (t) => {
  t.deepEqual(longestStalls([logOf(0, 900, 1800)], []), []);
});

test("a stall names the faults of its time alone", (t) => {
  const [during, after] = longestStalls([logOf(2000, 4000), logOf(5000, 6500)], [fault]);
  t.deepEqual(during?.during, ["edge-freeze of us-1"]);
  t.deepEqual(after?.during, []);
});
