// What a log makes of a stream's events, good and bad.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import { StreamLog } from "../../../deploy/load/stream-log.ts";
import {
  GenerateRequestSchema,
  type GenerateResponse,
  GenerateResponseSchema,
} from "../../../proto/gen/isthmus/v1/inference_pb.ts";

const door = { kind: "sdk", name: "sdk-1" } as const;
const question = { id: "q", request: create(GenerateRequestSchema), isFree: true, isSteady: true };
const opened = () => new StreamLog(door, question, 100);

const started = create(GenerateResponseSchema, {
  event: { case: "started", value: { edge: "us-1" } },
});
const tokens = (index: number, ...ids: number[]): GenerateResponse =>
  create(GenerateResponseSchema, {
    event: { case: "tokens", value: { index, ids, text: ids.join("") } },
  });
const finished = (completionTokens: number): GenerateResponse =>
  create(GenerateResponseSchema, {
    event: { case: "finished", value: { completionTokens, text: "." } },
  });

function logged(...events: GenerateResponse[]): StreamLog {
  const log = opened();
  for (const [at, event] of events.entries()) log.take(event, 110 + 10 * at);
  return log;
}

test("a stream in order is complete, whole, and timed by position", (t) => {
  const log = logged(started, tokens(0, 5), tokens(1, 6, 7), finished(3));
  t.true(log.isComplete && log.isAcknowledged);
  t.deepEqual([log.lost, log.doubled, log.broken.length], [0, 0, 0]);
  t.is(log.text, "567.");
  t.deepEqual(
    [log.afterMs(0), log.afterMs(1), log.afterMs(2), log.afterMs(3)],
    [120, 130, 130, 140],
  );
});

test("positions passed over are lost, positions come back to are doubled", (t) => {
  t.is(logged(started, tokens(0, 5), tokens(3, 6)).lost, 2);
  t.is(logged(started, tokens(0, 5, 6), tokens(0, 5)).doubled, 2);
});

test("events out of order are told", (t) => {
  t.deepEqual(logged(started, started).broken, ["started twice"]);
  t.deepEqual(logged(tokens(0, 1)).broken, ["tokens before the start"]);
  t.deepEqual(logged(started, finished(0), tokens(0, 1)).broken, ["tokens after the end"]);
  t.deepEqual(logged(started, tokens(0, 1), finished(2)).broken, ["2 tokens are counted, 1 came"]);
});

test("a stream is midway at the edge that began it from its first token to its end", (t) => {
  t.false(logged(started).isMidwayAt("us-1"));
  t.true(logged(started, tokens(0, 1)).isMidwayAt("us-1"));
  t.false(logged(started, tokens(0, 1)).isMidwayAt("us-2"));
  t.false(logged(started, tokens(0, 1), finished(1)).isMidwayAt("us-1"));
});

test("a failure after the last event makes it incomplete all the same", (t) => {
  const log = logged(started, finished(0));
  log.fail("link-lost: gone", 500);
  t.false(log.isComplete);
});
