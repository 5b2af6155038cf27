// Regions that can't see each other go on serving alone, and agree again once they can, without a
// restart: a real mesh with a proxy on each way between its processes.
import test from "ava";
import { layLinks, type MeshLinks } from "../chaos/mesh-links.ts";
import { eventually } from "../support/eventually.ts";
import { chat, keptAt, rttsOf, said, type Turn } from "./session-door.ts";
import { startTestMesh, type TestMesh } from "./test-mesh.ts";

const REGIONS = ["us", "eu", "ap"];

let mesh: TestMesh;
let links: MeshLinks;

test.before(async (t) => {
  t.timeout(180_000);
  mesh = await startTestMesh({
    edges: 1,
    wire: async (shape) => {
      links = await layLinks(shape, () => 0);
      return links.via;
    },
  });
  await everybodyMeets();
});

test.after.always(async () => {
  await mesh?.[Symbol.asyncDispose]();
  await links?.[Symbol.asyncDispose]();
});

const at = (region: string) => mesh.http(region);
const ask = (region: string): Promise<Turn> => chat(at(region), [said("turn on the lamp")]);
const seenBy = async (region: string) => Object.keys(await rttsOf(at(region))).sort();

async function everybodyMeets(): Promise<void> {
  for (const region of REGIONS) {
    await eventually(`${region} reaches the others`, async () => {
      return (await seenBy(region)).length === REGIONS.length - 1;
    });
  }
}

/** A busy region may be told of a turn a little after its caller. */
async function holds(region: string, session: string, revision: number): Promise<void> {
  await eventually(`${region} holds revision ${revision}`, async () => {
    const kept = await keptAt(at(region), session);
    if (kept?.revision !== revision) throw new Error(JSON.stringify(kept));
    return true;
  });
}

type Doing = "blackHole" | "cut" | "pass";

/** Both ways between two regions: their gateways' trunks and, with `nats`, their servers' links. */
function between(one: string, other: string, doing: Doing, nats = true): void {
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    links.link(from, to)[doing]();
    if (nats) links.link(`nats-${from}-g`, `nats-${to}-g`)[doing]();
  }
}

const pids = () =>
  mesh.handle.state.processes
    .filter(({ role }) => role !== "edge")
    .map(({ name, pid }) => `${name} ${pid}`)
    .sort();

for (const doing of ["blackHole", "cut"] as const) {
  test.serial(
    `${doing}: a region cut off serves alone, and agrees with the others later`,
    async (t) => {
      t.timeout(240_000);
      const before = pids();
      const session = `parted-${doing.toLowerCase()}`;
      t.is((await chat(at("ap"), [said("open the door")], { session })).status, 200);
      for (const region of REGIONS) await holds(region, session, 1);
      for (const other of ["eu", "ap"]) between("us", other, doing);
      await eventually("us sees that it is alone", async () => (await seenBy("us")).length === 0);
      await eventually("the others see it gone", async () => {
        return String([...(await seenBy("eu")), ...(await seenBy("ap"))]) === "ap,eu";
      });
      for (const region of REGIONS) {
        const turn = await ask(region);
        t.is(turn.status, 200);
        // The others may relieve each other; whoever is alone serves alone.
        t.is(turn.region === "us", region === "us", turn.region);
      }
      t.is((await chat(at("us"), [said("lock it")], { session })).status, 200);
      t.is((await chat(at("eu"), [said("close it")], { session })).status, 200);
      await holds("ap", session, 2);
      t.is((await chat(at("ap"), [said("is it shut")], { session })).status, 200);
      await holds("eu", session, 3);
      const alone = await keptAt(at("us"), session);
      t.is(alone?.revision, 2, JSON.stringify(alone));

      for (const other of ["eu", "ap"]) between("us", other, "pass");
      await everybodyMeets();
      const agreed = await keptAt(at("eu"), session);
      t.is(agreed?.messages.length, 6);
      for (const region of REGIONS) {
        await eventually(`${region} holds what the others hold`, async () => {
          return JSON.stringify(await keptAt(at(region), session)) === JSON.stringify(agreed);
        });
      }
      await mesh.handle.kill("us-1", "SIGKILL");
      const spilled = await eventually("us spills again", async () => {
        const turn = await ask("us");
        return turn.status === 200 && turn;
      });
      t.not(spilled.region, "us");
      await mesh.revive("us-1");
      await mesh.sees("us", 1);
      t.deepEqual(pids(), before, "nobody was restarted");
    },
  );
}

test.serial("a region beyond a lost link is reached through another", async (t) => {
  t.timeout(120_000);
  between("us", "eu", "cut", false);
  await eventually("us and eu have lost each other", async () => {
    return !(await seenBy("us")).includes("eu") && !(await seenBy("eu")).includes("us");
  });
  for (const edge of ["us-1", "ap-1"]) await mesh.handle.kill(edge, "SIGKILL");
  for (const region of ["us", "ap"]) await mesh.sees(region, 0);
  const turn = await eventually("it is served by way of ap", async () => {
    const tried = await ask("us");
    return tried.status === 200 && tried;
  });
  t.is(turn.region, "eu");
  const rule = { policy: { regions: ["eu"] } };
  const ruled = await chat(at("us"), [said("turn on the lamp")], rule);
  t.is(ruled.status, 503, "not through a region where it may not be");
  between("us", "eu", "pass", false);
  for (const edge of ["us-1", "ap-1"]) await mesh.revive(edge);
  await everybodyMeets();
  t.is((await chat(at("us"), [said("turn on the lamp")], rule)).region, "eu");
});
