// A mesh behind the emulated network: real nats-servers find each other through it, and no longer
// where it is cut.
import test from "ava";
import { type MeshHandle, startMesh } from "../../../deploy/local/mesh.ts";
import { connectNats } from "../../../runtime/nats/connection.ts";
import { eventually } from "../../support/eventually.ts";
import { fakePlace } from "./fake-mesh.ts";

async function change(mesh: MeshHandle, link: string, wanted: object): Promise<void> {
  const url = `${mesh.process("wan").http}/links/${link}`;
  const answer = await fetch(url, { method: "PATCH", body: JSON.stringify(wanted) });
  if (!answer.ok) throw new Error(await answer.text());
}

/** Hears what is published on "told", at a site of the mesh. */
async function listen(mesh: MeshHandle, site: string) {
  const nats = await connectNats({ servers: [mesh.process(`nats-${site}-g`).nats!], name: site });
  const heard: string[] = [];
  nats.subscribe("told", ({ body }) => void heard.push(Buffer.from(body).toString()));
  await nats.flush();
  const tell = (text: string) => nats.publish("told", Buffer.from(text));
  return { heard, tell, [Symbol.asyncDispose]: () => nats[Symbol.asyncDispose]() };
}

test("what one site tells another crosses their link, and doesn't while it is cut", async (t) => {
  await using place = await fakePlace(["us", "eu"]);
  await using mesh = await startMesh({ ...place.options, wan: true });
  t.like(
    (await place.state()).processes.find(({ role }) => role === "wan"),
    { name: "wan", region: "wan", http: `http://127.0.0.1:${place.options.portBase + 150}` },
  );
  await using us = await listen(mesh, "us");
  await using eu = await listen(mesh, "eu");
  await using central = await listen(mesh, "central");
  await eventually("both hear it", () => {
    us.tell("before");
    return eu.heard.includes("before") && central.heard.includes("before");
  });
  // Were the link not cut, eu would hear long before central does.
  await change(mesh, "us/eu", { rttMs: 0, jitterMs: 0, cut: true });
  await change(mesh, "us/central", { rttMs: 200 });
  us.tell("during");
  await eventually("central hears it", () => central.heard.includes("during"));
  t.false(eu.heard.includes("during"));
  await change(mesh, "us", { cut: false });
  await eventually("eu hears again", () => {
    us.tell("after");
    return eu.heard.includes("after");
  });
});
