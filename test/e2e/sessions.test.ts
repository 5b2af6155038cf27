// Conversations outlive the region that they began in: real processes, real signals.
import test from "ava";
import { connect } from "../../client/index.ts";
import { eventually } from "../support/eventually.ts";
import { chat, keptAt, said, sayAgain } from "./session-door.ts";
import { chatRequest } from "./stream-set.ts";
import { startTestMesh, type TestMesh } from "./test-mesh.ts";

/** Blows dealt before a test gives up on finding a turn midway. */
const STRIKES_MAX = 6;

let mesh: TestMesh;

test.before(async (t) => {
  t.timeout(180_000);
  mesh = await startTestMesh({ regions: ["us", "eu"], edges: 1 });
});

test.after.always(async () => {
  await mesh?.[Symbol.asyncDispose]();
});

const at = (region: string) => mesh.http(region);

test.serial(
  "a conversation goes on in another region as if it had all been sent there",
  async (t) => {
    const first = await chat(at("us"), [said("turn on the kitchen light")], { session: "on" });
    t.is(first.status, 200);
    const second = await chat(at("eu"), [sayAgain], { session: "on" });
    t.is(second.text, first.text, "eu's model was asked what us had been asked");
    t.is(second.promptTokens, first.promptTokens);
    const alone = await chat(at("eu"), [sayAgain]);
    t.not(alone.promptTokens, first.promptTokens, "which it was not told now");
    t.like(await keptAt(at("us"), "on"), { revision: 2, region: "eu" });
    t.is((await keptAt(at("us"), "on"))?.messages.length, 4);
  },
);

test.serial(
  "a conversation outlives the kill -9 of its whole region, and is told to it later",
  async (t) => {
    t.timeout(180_000);
    const opening = said("open the garage door");
    const first = await chat(at("us"), [opening], { session: "outlives" });
    t.is(first.status, 200);
    // At once: what is acknowledged is where it is needed.
    const lost = mesh.handle.state.processes.filter(({ region }) => region === "us");
    t.true(lost.length >= 4, "gateway, edge and both nats-servers");
    await Promise.all(lost.map(({ name }) => mesh.handle.kill(name, "SIGKILL")));
    const second = await chat(at("eu"), [sayAgain], { session: "outlives" });
    t.is(second.status, 200);
    t.is(second.text, first.text);
    const kept = await keptAt(at("eu"), "outlives");
    t.deepEqual(
      kept?.messages.map(({ role }) => role),
      ["user", "assistant", "system", "assistant"],
    );
    t.is(kept?.messages[0]?.content, opening.content);
    t.is(kept?.messages[1]?.content, first.text);

    for (const { name } of lost.filter(({ role }) => role === "nats")) {
      await mesh.handle.restart(name);
    }
    await mesh.revive("us");
    await mesh.revive("us-1");
    await eventually("us is told what was said without it", async () => {
      return (await keptAt(at("us"), "outlives"))?.revision === 2;
    });
    const third = await chat(at("us"), [sayAgain], { session: "outlives" });
    t.is(third.text, first.text);
  },
);

test.serial(
  "without its context a turn is refused, and without its store one goes on",
  async (t) => {
    t.timeout(120_000);
    const first = await chat(at("us"), [said("dim the lamp")], { session: "storeless" });
    await mesh.handle.kill("nats-us-j", "SIGKILL");
    const unknown = await eventually("the store is seen to be away", async () => {
      const turn = await chat(at("us"), [said("hello")], { session: "never-seen" });
      return turn.status === 503 && turn;
    });
    t.like(unknown.error, { param: "isthmus.session" });
    t.truthy(unknown.retryAfter);
    const plain = await chat(at("us"), [said("hello")]);
    t.is(plain.status, 200, "serving needs no store");
    const known = await eventually("the other region's copy is found", async () => {
      const turn = await chat(at("us"), [sayAgain], { session: "storeless" });
      return turn.status === 200 && turn;
    });
    t.is(known.text, first.text);
    t.is((await keptAt(at("eu"), "storeless"))?.revision, 2);
    await mesh.handle.restart("nats-us-j");
    await eventually("us has caught up", async () => {
      return (await keptAt(at("us"), "storeless"))?.revision === 2;
    });
  },
);

test.serial(
  "a turn whose gateway dies midway goes on by the SDK, and is kept once and whole",
  async (t) => {
    t.timeout(180_000);
    for (let attempt = 0; attempt < STRIKES_MAX; attempt += 1) {
      const session = `midway-${attempt}`;
      const client = await connect({ seeds: [mesh.grpc("us"), mesh.grpc("eu")] });
      const request = { ...chatRequest("turn on the light in the kitchen"), sessionId: session };
      const record = { text: "", region: "", struck: "", moves: 0, finished: 0 };
      for await (const { event } of client.generate(request)) {
        if (event.case === "started") record.region = event.value.region;
        if (event.case === "tokens") record.text += event.value.text;
        if (event.case === "finished") {
          record.text += event.value.text;
          record.moves = event.value.moves.length;
          record.finished += 1;
        }
        if (event.case !== "tokens" || event.value.index < 2 || record.struck !== "") continue;
        record.struck = record.region;
        void mesh.handle.kill(record.region, "SIGKILL");
      }
      client.close();
      const other = record.struck === "us" ? "eu" : "us";
      const kept = await keptAt(at(other), session);
      await mesh.revive(record.struck);
      t.is(record.finished, 1);
      t.is(kept?.messages.length, 2, "neither doubled nor lost");
      t.is(kept?.messages[1]?.content, record.text);
      // When all of it was out before the blow fell, it is dealt again.
      if (record.moves > 0) return;
    }
    t.fail(`none of ${STRIKES_MAX} blows found the turn midway`);
  },
);

test.serial("a deleted conversation is gone in every region", async (t) => {
  await chat(at("us"), [said("lock the door")], { session: "deleted" });
  await eventually("eu, which us may just have met again, keeps it too", () =>
    keptAt(at("eu"), "deleted"),
  );
  const answer = await fetch(`${at("eu")}/v1/sessions/deleted`, { method: "DELETE" });
  t.is(answer.status, 200);
  t.is(await keptAt(at("eu"), "deleted"), null);
  await eventually("it is gone at us", async () => (await keptAt(at("us"), "deleted")) === null);
});
