// A gateway passes feedback on to whoever made the completion, and keeps none of it.

import { create } from "@bufbuild/protobuf";
import test, { type ExecutionContext } from "ava";
import { Fault } from "../../../proto/fault.ts";
import { GenerateRequestSchema } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { createFeedbackRelay } from "../../../region/feedback/feedback-relay.ts";
import { noting, ServedCompletions } from "../../../region/feedback/served-completions.ts";
import { systemClock } from "../../../runtime/clock.ts";
import type {
  FeedbackPort,
  GivenFeedback,
} from "../../../runtime/frontend/feedback/feedback-port.ts";
import { feedbackService } from "../../../runtime/frontend/feedback/grpc-feedback.ts";
import { startGrpcServer } from "../../../runtime/grpc/server.ts";
import { silentLog } from "../../../runtime/log.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { createScriptedBackend, scriptedModel } from "../../support/scripted-backend.ts";

const given = (more: Partial<GivenFeedback> = {}): GivenFeedback => ({
  ...{ id: "c", choice: 0, lesson: { kind: "correction", text: "so" }, rating: 1 },
  ...more,
});

/** An edge that only takes feedback. */
async function startDesk(t: ExecutionContext, edge: string, region: string) {
  const taken: GivenFeedback[] = [];
  const receipt = (name: { id: string; choice: number }) => ({
    ...{ id: name.id, choice: name.choice, model: "m", version: "m@1", edge, region },
    ...({ lesson: "correction", rating: null, givenMs: 7 } as const),
  });
  const port: FeedbackPort = {
    async give(feedback) {
      if (feedback.rating === 0) {
        throw new Fault("unsupported", "not this one", { param: "correction" });
      }
      taken.push(feedback);
      return receipt(feedback);
    },
    get: async (name) => receipt(name),
    async remove(name) {
      taken.splice(
        taken.findIndex(({ id }) => id === name.id),
        1,
      );
    },
  };
  return { taken, address: await serve(t, port) };
}

async function serve(t: ExecutionContext, port: FeedbackPort): Promise<string> {
  const log = silentLog();
  const services = [feedbackService(port)];
  const server = await startGrpcServer({ host: "127.0.0.1", port: 0, services, log });
  t.teardown(() => server.stop());
  return `127.0.0.1:${server.port}`;
}

function relayOf(
  region: string,
  served: ServedCompletions,
  edges: Record<string, string>,
  regions: Record<string, string>,
): FeedbackPort {
  const clock = systemClock;
  const edgeAddress = (edge: string) => edges[edge];
  const regionAddress = (name: string) => regions[name];
  return createFeedbackRelay({ region, served, edgeAddress, regionAddress, clock });
}

test("to its own edge, to another region's by its gateway, and no further", async (t) => {
  const desk = await startDesk(t, "eu-1", "eu");
  const inEu = new ServedCompletions(systemClock);
  inEu.note("c", { edge: "eu-1", region: "eu" });
  const eu = relayOf("eu", inEu, { "eu-1": desk.address }, {});
  t.like(await eu.give(given()), { edge: "eu-1", region: "eu", version: "m@1", givenMs: 7 });
  const inUs = new ServedCompletions(systemClock);
  inUs.note("c", { edge: "eu-1", region: "eu" });
  const euAddress = await serve(t, eu);
  const us = relayOf("us", inUs, {}, { eu: euAddress });
  const accepted = given({ lesson: { kind: "accepted", text: null }, rating: null });
  await us.give(accepted);
  t.deepEqual(desk.taken, [given(), accepted]);
  t.like(await us.get({ id: "c", choice: 0 }), { edge: "eu-1", lesson: "correction" });
  await us.remove({ id: "c", choice: 0 });
  t.is(desk.taken.length, 1);
  // Two gateways that take each other for the maker's don't play ball.
  const lost = new ServedCompletions(systemClock);
  lost.note("c", { edge: "us-1", region: "us" });
  const usAddress = await serve(t, us);
  const wrong = relayOf("eu", lost, {}, { us: usAddress });
  const wrongAddress = await serve(t, wrong);
  const astray = relayOf("us", inUs, {}, { eu: wrongAddress });
  await t.throwsAsync(astray.give(given()), { message: /no completion c is known/ });
});

test("what the edge refuses is refused in its words; one gone is unavailable", async (t) => {
  const desk = await startDesk(t, "us-1", "us");
  const served = new ServedCompletions(systemClock);
  served.note("c", { edge: "us-1", region: "us" });
  served.note("gone", { edge: "us-2", region: "us" });
  served.note("dead", { edge: "us-3", region: "us" });
  served.note("c.1", { edge: "us-2", region: "us" });
  const edges = { "us-1": desk.address, "us-3": "127.0.0.1:1" };
  const relay = relayOf("us", served, edges, {});
  const refusal = async (feedback: GivenFeedback) => {
    const fault = await t.throwsAsync(relay.give(feedback), { instanceOf: Fault });
    return `${fault?.code} ${fault?.param}: ${fault?.message}`;
  };
  t.is(await refusal(given({ rating: 0 })), "unsupported correction: not this one");
  t.regex(await refusal(given({ id: "gone" })), /^unavailable : us\/us-2, which made/);
  t.regex(await refusal(given({ id: "dead" })), /^unavailable : us\/us-3, which made/);
  t.regex(await refusal(given({ choice: 1 })), /^unavailable : us\/us-2/);
  t.regex(await refusal(given({ id: "unheard" })), /^not-found id: no completion unheard is known/);
});

test("a gateway notes who served, for an hour, and nothing else", async (t) => {
  const clock = new ManualClock();
  clock.advance(1); // the cache takes a start at 0 for none
  const served = new ServedCompletions(clock);
  const backend = noting(createScriptedBackend(), served);
  const request = create(GenerateRequestSchema, {
    model: scriptedModel,
    prompt: { case: "text", value: "hello" },
  });
  const context = {
    ...{ signal: new AbortController().signal, visitedRegions: [], deadlineMs: Infinity },
    ...{ requestId: "r", choice: 2 },
  };
  await backend.generate(request, context, () => {});
  t.deepEqual(Object.keys(served.makerOf("r.2") ?? {}), ["edge", "region"]);
  t.is(served.makerOf("r"), undefined);
  clock.advance(59 * 60_000);
  t.truthy(served.makerOf("r.2"));
  clock.advance(2 * 60_000);
  t.is(served.makerOf("r.2"), undefined);
});
