// What a stream's next source is asked for, where the turn of a session has to be kept whole.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import { GenerateRequestSchema, ResumeSchema } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { advance } from "../../../runtime/continuation/continuation-core.ts";
import { createStream } from "../../../runtime/continuation/stream-state.ts";
import { eventsOf, promptRequest, truthOf } from "./scripted-source.ts";

const truth = truthOf(["ab", "cd", "ef"], 0);

/** The request to the second source, once the first was lost after two batches. */
function onwardFrom(sessionId: string, resume?: { ids: number[]; text: string }) {
  const request = create(GenerateRequestSchema, {
    ...promptRequest(),
    sessionId,
    ...(resume && { resume: create(ResumeSchema, { ...resume, textLength: resume.text.length }) }),
  });
  const state = createStream(request);
  advance(state, { kind: "begin" });
  advance(state, { kind: "picked", key: "k", edge: "a" });
  const script = { start: "resume", batch: 1, batches: 1, end: "hang" } as const;
  for (const event of eventsOf(truth, script, state.request, "a")) {
    advance(state, { kind: "event", attempt: 1, event });
  }
  advance(state, { kind: "move-away", key: "k", reason: "lost" });
  const [open] = advance(state, { kind: "picked", key: "l", edge: "b" });
  if (open?.kind !== "open") throw new Error("not opened");
  return open.request.resume;
}

test("a session's next source gets all text delivered, the caller's own part too", (t) => {
  t.is(onwardFrom("s")?.text, "ab");
  const resumed = onwardFrom("s", { ids: [truth.ids[0]!], text: "ab" });
  t.is(resumed?.text, "abcd");
  t.is(resumed?.textLength, 4);
});

test("without a session no text travels twice", (t) => {
  t.is(onwardFrom("")?.text, "");
  t.is(onwardFrom("")?.textLength, 2);
});
