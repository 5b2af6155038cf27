// A residency rule, proven on the wire: every port of a real mesh is listened in on, and the prompt
// has been nowhere but where the rule lets it be.
import test from "ava";
import { eventually } from "../support/eventually.ts";
import { tapWires, type WireTaps } from "../support/wire-tap.ts";
import { chat, keptAt, said, type Turn } from "./session-door.ts";
import { startTestMesh, type TestMesh } from "./test-mesh.ts";

let mesh: TestMesh;
let taps: WireTaps;
let marks = 0;

test.before(async (t) => {
  t.timeout(180_000);
  mesh = await startTestMesh({
    edges: 1,
    wire: async (shape) => {
      taps = await tapWires(shape);
      return taps.via;
    },
  });
  await eventually("us knows that the others serve the model", async () => {
    const answer = await fetch(`${mesh.http("us")}/v1/routes/explain?model=commands`);
    const { peers } = (await answer.json()) as { peers: { candidate: boolean }[] };
    return peers.filter(({ candidate }) => candidate).length === 2;
  });
});

test.after.always(async () => {
  await mesh?.[Symbol.asyncDispose]();
  await taps?.[Symbol.asyncDispose]();
});

/** Words that were never said before; gRPC, NATS and HTTP carry them as they are. */
function mark(): string {
  marks += 1;
  return `turn on lamp xq${marks}zv${process.pid}`;
}

/** Who heard the words, besides those of the region where they may be. */
function heardOutside(region: string, words: string): string[] {
  const heard = taps.heardBy(words);
  const inside = new RegExp(`^(region|edge|nats)[ -]${region}\\b`);
  return heard.filter((owner) => !inside.test(owner));
}

// The caller itself speaks to the gateway's own port, which is not tapped for it.
const askUs = (words: string, terms: Record<string, unknown>): Promise<Turn> =>
  chat(mesh.http("us"), [said(words)], terms);

test.serial("a prompt that may be served anywhere is heard where it is served", async (t) => {
  const words = mark();
  const turn = await askUs(words, {});
  t.is(turn.status, 200);
  const heard = taps.heardBy(words);
  t.true(heard.includes(`edge ${turn.region}-1, gRPC`), `the taps work: ${heard.join("; ")}`);
});

test.serial(
  "policy.regions = eu: nothing of the prompt goes to us's edges, nor to ap",
  async (t) => {
    const words = mark();
    const turn = await askUs(words, { policy: { regions: ["eu"] } });
    t.is(turn.status, 200);
    t.is(turn.region, "eu");
    t.true(taps.heardBy(words).includes("region eu, gRPC"));
    t.deepEqual(heardOutside("eu", words), []);
  },
);

test.serial("a jurisdiction holds alike, for what is kept of a session too", async (t) => {
  const words = mark();
  const session = "under-gdpr";
  const turn = await askUs(words, { session, policy: { jurisdictions: ["gdpr"] } });
  t.is(turn.region, "eu");
  t.is((await keptAt(mesh.http("eu"), session))?.messages[0]?.content, words);
  t.is(await keptAt(mesh.http("us"), session), null);
  t.is(await keptAt(mesh.http("ap"), session), null);
  t.deepEqual(heardOutside("eu", words), []);
});

test.serial("a rule that nobody meets is told by its name", async (t) => {
  const words = mark();
  const turn = await askUs(words, { policy: { regions: ["atlantis"] } });
  t.is(turn.status, 412);
  t.is(turn.error?.param, "isthmus.policy.regions");
  const label = await askUs(words, { policy: { jurisdictions: ["hipaa"] } });
  t.is(label.error?.param, "isthmus.policy.jurisdictions");
  t.deepEqual(taps.heardBy(words), []);
});

test.serial(
  "with the allowed region's edge dead, the prompt waits or fails, and goes nowhere",
  async (t) => {
    t.timeout(120_000);
    await mesh.handle.kill("eu-1", "SIGKILL");
    const words = mark();
    const turn = await askUs(words, { policy: { regions: ["eu"] } });
    t.is(turn.status, 503);
    t.deepEqual(heardOutside("eu", words), []);
    await mesh.revive("eu-1");
    const again = await eventually("eu serves again", async () => {
      const next = await askUs(words, { policy: { regions: ["eu"] } });
      return next.status === 200 && next;
    });
    t.is(again.region, "eu");
    t.deepEqual(heardOutside("eu", words), []);
  },
);
