// Conversations in the regions' own stores, over real nats-servers: kept, told, merged, bounded.
import { create, toBinary } from "@bufbuild/protobuf";
import test from "ava";
import { Fault } from "../../../proto/fault.ts";
import { SessionSchema } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { regionId } from "../../../proto/ids.ts";
import { subjects } from "../../../proto/subjects.ts";
import { eventually } from "../../support/eventually.ts";
import { NatsTopology } from "../../support/nats-topology.ts";
import {
  acquainted,
  context,
  kept,
  lastAsked,
  peerOf,
  type SessionRegion,
  saidIn,
  startSessionRegion,
  take,
  turnRequest,
} from "./session-region.ts";

let topology: NatsTopology;
let us: SessionRegion;
let eu: SessionRegion;
let ap: SessionRegion;

test.before(async (t) => {
  t.timeout(120_000);
  topology = await NatsTopology.start(["us", "eu", "ap"]);
  us = await startSessionRegion(topology, "us", ["eu", "ap"]);
  eu = await startSessionRegion(topology, "eu", ["us", "ap"]);
  ap = await startSessionRegion(topology, "ap", ["us", "eu"]);
  await acquainted([us, eu, ap]);
  await allSettled();
});

/** Nobody asks anybody any more before it answers: what is told must do. */
async function allSettled(): Promise<void> {
  for (const region of [us, eu, ap]) {
    await eventually(`${region.name} has met the others`, () => region.settle());
  }
}

test.after.always(async () => {
  await Promise.all([us, eu, ap].map((region) => region?.stop()));
  await topology?.stop();
});

const faultOf = async (work: Promise<unknown>): Promise<Fault> => {
  const thrown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (thrown instanceof Fault) return thrown;
  throw new Error("no fault", { cause: thrown });
};

test.serial(
  "a conversation goes on from what was said, wherever its next turn is taken",
  async (t) => {
    t.is(await take(us, { id: "on" }, "one"), "answer 1");
    t.is(await take(us, { id: "on" }, "two"), "answer 3");
    // No wait here: the turn was told before it was finished.
    t.is(await take(eu, { id: "on" }, "three"), "answer 5");
    t.deepEqual(lastAsked(eu), ["one", "answer 1", "two", "answer 3", "three"]);
    t.deepEqual(await saidIn(ap, "on"), [...lastAsked(eu), "answer 5"]);
    t.like(await kept(ap, "on"), { revision: 3, region: "eu" });
  },
);

test.serial(
  "whoever sends the whole conversation gets it neither doubled nor refused",
  async (t) => {
    await take(us, { id: "whole" }, "one");
    const request = turnRequest({ id: "whole" }, "one", "answer 1", "two");
    if (request.prompt.case === "chat") request.prompt.value.messages[1]!.role = "assistant";
    await us.sessions.backend.generate(request, context(), () => {});
    t.deepEqual(lastAsked(us), ["one", "answer 1", "two"]);
    t.deepEqual(await saidIn(us, "whole"), ["one", "answer 1", "two", "answer 3"]);
  },
);

test.serial("one tenant's session is not another's of the same name", async (t) => {
  await take(us, { id: "mine", tenant: "a" }, "secret");
  await take(us, { id: "mine", tenant: "b" }, "hello");
  t.deepEqual(lastAsked(us), ["hello"]);
  t.is(await kept(us, "mine"), null);
  const headers = { "x-isthmus-tenant": "a" };
  t.is((await kept(us, "mine", headers))?.messages[0]?.content, "secret");
});

test.serial(
  "the last event waits until the turn is kept, and a failed turn keeps nothing",
  async (t) => {
    const called = us.backend.nextCall();
    const events: string[] = [];
    const done = us.sessions.backend.generate(
      turnRequest({ id: "late" }, "one"),
      context(),
      ({ event }) => events.push(event.case ?? ""),
    );
    const call = await called;
    call.started();
    call.tokens("so far");
    t.is(await kept(us, "late"), null);
    call.finish();
    t.deepEqual(events, ["started", "tokens"], "not yet: nothing is stored");
    await done;
    t.deepEqual(events, ["started", "tokens", "finished"]);
    t.deepEqual(await saidIn(us, "late"), ["one", "so far"]);

    const failing = us.backend.nextCall();
    const failed = us.sessions.backend.generate(
      turnRequest({ id: "late" }, "two"),
      context(),
      () => {},
    );
    (await failing).fail(new Fault("engine-crashed", "as told"));
    t.is((await faultOf(failed)).code, "engine-crashed");
    t.deepEqual(await saidIn(us, "late"), ["one", "so far"]);
  },
);

test.serial("two turns at once are one too many, but a resumed one takes over", async (t) => {
  const called = us.backend.nextCall();
  const first = us.sessions.backend.generate(
    turnRequest({ id: "twice" }, "one"),
    context(),
    () => {},
  );
  const call = await called;
  call.started();
  call.tokens("an");
  t.is((await faultOf(take(us, { id: "twice" }, "two"))).code, "conflict");
  us.backend.reply = () => ["swer"];
  await take(us, { id: "twice", resumed: "an" }, "one");
  us.backend.reply = (request) => [
    `answer ${request.prompt.case === "chat" ? request.prompt.value.messages.length : 0}`,
  ];
  t.is((await faultOf(first)).code, "cancelled");
  t.deepEqual(await saidIn(us, "twice"), ["one", "answer"]);
});

test.serial("a turn that was kept just before its gateway died is not asked twice", async (t) => {
  await take(us, { id: "died" }, "one");
  us.backend.reply = () => ["wer 1"];
  await take(eu, { id: "died", resumed: "answer 1" }, "one");
  us.backend.reply = (request) => [
    `answer ${request.prompt.case === "chat" ? request.prompt.value.messages.length : 0}`,
  ];
  t.deepEqual(lastAsked(eu), ["one"]);
  t.is((await saidIn(eu, "died"))?.[0], "one");
  t.is((await saidIn(eu, "died"))?.length, 2);
});

test.serial("a session under a residency rule is kept, and told, nowhere else", async (t) => {
  const heard: string[] = [];
  for (const region of ["us", "ap"]) {
    const listening = region === "us" ? us.nats : ap.nats;
    listening.subscribe(subjects.session(regionId(region)), ({ body }) => {
      heard.push(new TextDecoder("latin1").decode(body));
    });
  }
  await us.nats.flush();
  await ap.nats.flush();
  await take(eu, { id: "only", policy: { jurisdictions: ["gdpr"] } }, "private words");
  await take(eu, { id: "only" }, "more of it");
  // What is told later than this was told after that.
  await take(eu, { id: "any" }, "said everywhere");
  await eventually("the later one has come to both", () => {
    return heard.filter((body) => body.includes("said everywhere")).length === 2;
  });
  t.false(heard.some((body) => body.includes("private words") || body.includes("only")));
  t.is(await kept(us, "only"), null);
  t.is(await kept(ap, "only"), null);
  t.is((await kept(eu, "only"))?.revision, 2);
  const policy = eu.backend.requests.at(-2)?.policy;
  t.deepEqual(policy?.jurisdictions, ["gdpr"], "the rule of the session holds for its later turns");
  const against = await faultOf(
    take(eu, { id: "only", policy: { jurisdictions: ["eu"] } }, "elsewhere"),
  );
  t.like(against, { code: "failed-precondition", param: "policy.jurisdictions" });
});

test.serial(
  "a session that is narrowed later is forgotten where it may not be any more",
  async (t) => {
    await take(eu, { id: "narrowed" }, "one");
    t.not(await kept(us, "narrowed"), null);
    await take(eu, { id: "narrowed", policy: { regions: ["eu"] } }, "two");
    t.is(await kept(us, "narrowed"), null);
    t.is((await kept(eu, "narrowed"))?.revision, 2);
    await take(us, { id: "narrowed" }, "three");
    const passed = us.backend.requests.at(-1);
    t.like(passed, { sessionId: "narrowed", policy: { regions: ["eu"] } });
    t.deepEqual(lastAsked(us), ["three"], "the rest is for eu to put before it");
    t.is(await kept(us, "narrowed"), null);
  },
);

test.serial("a region that may not keep a session passes its turn on as it came", async (t) => {
  await take(us, { id: "passing", policy: { regions: ["eu"] } }, "one");
  const passed = us.backend.requests.at(-1);
  t.is(passed?.sessionId, "passing", "whoever may serve it keeps it");
  t.is(await kept(us, "passing"), null);
});

test.serial("a deleted session is gone everywhere, and may begin again", async (t) => {
  await take(us, { id: "gone" }, "one");
  const response = await eu.sessions.routes.request("/v1/sessions/gone", { method: "DELETE" });
  t.is(response.status, 200);
  for (const region of [us, eu, ap]) t.is(await kept(region, "gone"), null);
  const again = await eu.sessions.routes.request("/v1/sessions/gone", { method: "DELETE" });
  t.is(again.status, 404);
  await take(us, { id: "gone" }, "anew");
  t.deepEqual(lastAsked(us), ["anew"]);
  t.deepEqual(await saidIn(ap, "gone"), ["anew", "answer 1"]);
});

test.serial("a session has a bound, and says so before anything is asked", async (t) => {
  const before = us.backend.requests.length;
  const fault = await faultOf(take(us, { id: "big" }, "x".repeat(250 << 10)));
  t.like(fault, { code: "payload-too-large", param: "session_id" });
  t.is(us.backend.requests.length, before);
});

test.serial("regions that were apart agree once they meet, and count what gave way", async (t) => {
  const gaveWay = async () => (await us.count("isthmus_session_conflicts_total")).diverged ?? 0;
  const before = await gaveWay();
  await take(us, { id: "apart" }, "together");
  const apart = (region: SessionRegion, others: string[]) => {
    for (const other of others) region.peers.set(other, peerOf(other, { connected: false }));
  };
  apart(us, ["eu", "ap"]);
  apart(eu, ["us", "ap"]);
  await take(us, { id: "apart" }, "here");
  await take(eu, { id: "apart" }, "there");
  await take(eu, { id: "apart" }, "and there");
  t.is((await saidIn(us, "apart"))?.at(-2), "here");
  for (const region of [us, eu, ap]) {
    for (const other of ["us", "eu", "ap"]) {
      if (other !== region.name) region.peers.set(other, peerOf(other));
    }
  }
  const whole = ["together", "answer 1", "there", "answer 3", "and there", "answer 5"];
  for (const region of [us, eu, ap]) {
    await eventually(`${region.name} holds the longer one`, async () => {
      return String(await region.stored("apart")) === String(whole);
    });
  }
  t.is(await gaveWay(), before + 1);
});

test.serial("a region that has just met the others asks them before it answers", async (t) => {
  us.peers.set("eu", peerOf("eu", { connected: false }));
  await take(us, { id: "missed" }, "one");
  const late = await startSessionRegion(topology, "eu", []);
  eu.sessions.stop();
  late.peers.set("us", peerOf("us"));
  t.is(await take(late, { id: "missed" }, "two"), "answer 3");
  await late.stop();
  await eu.stop();
  eu = await startSessionRegion(topology, "eu", ["us", "ap"]);
  us.peers.set("eu", peerOf("eu"));
  await acquainted([us, eu, ap]);
});

test.serial(
  "with its store away a region goes on from what another keeps, or says it can't",
  async (t) => {
    t.timeout(60_000);
    await take(us, { id: "away" }, "one");
    await topology.kill("us", "j");
    await eventually("us is linked again", () => us.nats.state === "up");
    const answer = await eventually("us reaches the others again", () =>
      take(us, { id: "away" }, "two"),
    );
    t.is(answer, "answer 3");
    t.is((await kept(eu, "away"))?.revision, 2);
    const fault = await faultOf(take(us, { id: "never-heard-of" }, "one"));
    t.like(fault, { code: "unavailable", param: "session_id" });
    t.true(fault.retryAfterMs > 0);
    await topology.restart("us", "j");
    await topology.linked();
    await eventually("it is told what it missed", async () => {
      return (await us.stored("away"))?.length === 4;
    });
  },
);

test.serial("what can't be a session is not believed", async (t) => {
  const fake = {
    id: "fake",
    region: "us",
    revision: 5n,
    messages: [{ role: "user", content: "x" }],
  };
  const tell = (body: Uint8Array) => eu.nats.request(subjects.session(regionId("ap")), body, 300);
  await t.throwsAsync(() => tell(Uint8Array.of(255, 255, 255)));
  await t.throwsAsync(() =>
    tell(toBinary(SessionSchema, create(SessionSchema, { ...fake, revision: 0n }))),
  );
  t.is(await kept(ap, "fake"), null);
  await tell(toBinary(SessionSchema, create(SessionSchema, fake)));
  t.is((await kept(ap, "fake"))?.revision, 5);
});
