// The serving end of a trunk against a peer that reads only when the test says so.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import type { GenerateRequest } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import {
  type OpenRequest,
  OpenRequestSchema,
  type OpenResponse,
  Phase,
} from "../../../proto/gen/isthmus/v1/trunk_pb.ts";
import type { CallContext, InferenceBackend, OnEvent } from "../../../runtime/inference/backend.ts";
import { HELD_PER_REQUEST_MAX } from "../../../runtime/trunk/bounds.ts";
import { TrunkSession } from "../../../runtime/trunk/trunk-session.ts";
import { pacedBackend } from "../../support/paced-backend.ts";
import { started, tokens } from "../continuation/scripted-source.ts";

/** A backend whose completions speak when the test does. */
function heldBackend() {
  const calls: { request: GenerateRequest; context: CallContext; onEvent: OnEvent }[] = [];
  const backend: InferenceBackend = {
    ...pacedBackend({ edge: "e" }),
    generate: (request, context, onEvent) => {
      calls.push({ request, context, onEvent });
      return new Promise(() => {});
    },
  };
  return { backend, calls };
}

function submit(id: number): OpenRequest {
  const request = { model: "m", prompt: { case: "text", value: "p" } } as const;
  return create(OpenRequestSchema, { message: { case: "submit", value: { id, request } } });
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test("all that one turn produces goes out as one message", async (t) => {
  const { backend, calls } = heldBackend();
  const sent: OpenResponse[] = [];
  const session = new TrunkSession({ backend, write: (response) => sent.push(response) > 0 });
  for (let id = 1; id <= 8; id += 1) session.take(submit(id));
  for (const { onEvent } of calls) onEvent(started("e"));
  for (const { onEvent } of calls) onEvent(tokens(0, [1], "x"));
  await turn();
  t.is(sent.length, 1);
  t.is(sent[0]?.items.length, 16);
});

test("a peer that doesn't read stops nobody else, and holds a bounded amount", async (t) => {
  const { backend, calls } = heldBackend();
  const sent: OpenResponse[] = [];
  let reads = false;
  const session = new TrunkSession({
    backend,
    write: (response) => {
      sent.push(response);
      return reads;
    },
  });
  session.take(submit(1));
  session.take(submit(2));
  const [fast, slow] = calls;
  fast!.onEvent(started("e"));
  await turn();
  t.is(sent.length, 1);
  for (let k = 0; k < HELD_PER_REQUEST_MAX; k += 1) fast!.onEvent(tokens(k, [k], ""));
  slow!.onEvent(started("e"));
  await turn();
  t.is(sent.length, 1);
  t.false(fast!.context.signal.aborted);
  fast!.onEvent(tokens(HELD_PER_REQUEST_MAX, [1], ""));
  t.true(fast!.context.signal.aborted);
  t.false(slow!.context.signal.aborted);
  fast!.onEvent(tokens(HELD_PER_REQUEST_MAX + 1, [1], "")); // nobody listens any more
  reads = true;
  session.drained();
  const outcomes = sent[1]!.items.filter(({ id }) => id === 1).map(({ outcome }) => outcome);
  t.is(outcomes.length, HELD_PER_REQUEST_MAX + 1);
  const last = outcomes.at(-1);
  t.is(last?.case === "failure" ? last.value.code : "", "slow-consumer");
  t.is(session.inFlight, 1);
});

test("what nobody works on any more is answered with not known", async (t) => {
  const { backend, calls } = heldBackend();
  const sent: OpenResponse[] = [];
  const session = new TrunkSession({ backend, write: (response) => sent.push(response) > 0 });
  const ask = (id: number) =>
    create(OpenRequestSchema, { message: { case: "ask", value: { id } } });
  session.take(submit(1));
  session.take(ask(1));
  calls[0]!.context.inquiry!.answeredBy(() => ({ phase: "reading", silentMs: 7.6 }));
  session.take(ask(1));
  session.take(ask(2));
  await turn();
  const said = sent.flatMap(({ items }) => items).map(({ id, outcome }) => [id, outcome.value]);
  t.like(said, [
    [2, { phase: Phase.UNSPECIFIED }],
    [1, { phase: Phase.WAITING, silentMs: 0 }],
    [1, { phase: Phase.READING, silentMs: 8 }],
  ]);
});

test("when the peer is gone, nobody works for it", (t) => {
  const { backend, calls } = heldBackend();
  const session = new TrunkSession({ backend, write: () => true });
  session.take(submit(1));
  session.take(submit(2));
  session.close();
  t.true(calls.every(({ context }) => context.signal.aborted));
  t.is(session.inFlight, 0);
});

test("a submission without a request, or past too many regions, is refused", async (t) => {
  const { backend, calls } = heldBackend();
  const sent: OpenResponse[] = [];
  const session = new TrunkSession({ backend, write: (response) => sent.push(response) > 0 });
  session.take(create(OpenRequestSchema, { message: { case: "submit", value: { id: 1 } } }));
  const far = submit(2);
  if (far.message.case === "submit") far.message.value.visitedRegions = Array(9).fill("r");
  session.take(far);
  await turn();
  const codes = sent[0]!.items.map(({ outcome }) =>
    outcome.case === "failure" ? outcome.value.code : "none",
  );
  t.deepEqual(codes, ["invalid-argument", "invalid-argument"]);
  t.is(calls.length, 0);
});
