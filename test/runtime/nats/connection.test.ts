// The link to NATS against a real topology of three regions and central.
import { once } from "node:events";
import { createServer } from "node:net";
import test from "ava";
import { Fault } from "../../../proto/fault.ts";
import {
  connectNats,
  type LinkState,
  type NatsLink,
  openNats,
} from "../../../runtime/nats/connection.ts";
import { eventually } from "../../support/eventually.ts";
import { NatsTopology } from "../../support/nats-topology.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (body: Uint8Array) => new TextDecoder().decode(body);

let topology: NatsTopology;
const links: NatsLink[] = [];

async function link(region: string): Promise<NatsLink> {
  const opened = await connectNats({ servers: topology.urls(region), name: `test ${region}` });
  links.push(opened);
  return opened;
}

function echo(on: NatsLink, subject: string): void {
  on.subscribe(subject, ({ body, respond }) => respond?.(body));
}

/** Asks until answered: interest takes a moment to spread, and a cut link a moment to heal. */
function answered(from: NatsLink, subject: string): Promise<string> {
  return eventually(`${subject} answers`, async () =>
    text(await from.request(subject, bytes("hello"), 500)),
  );
}

test.before(async (t) => {
  t.timeout(120_000);
  const startMs = performance.now();
  topology = await NatsTopology.start(["us", "eu", "ap"]);
  t.log(`topology of 8 servers linked in ${Math.round(performance.now() - startMs)} ms`);
});

test.after.always(async () => {
  for (const opened of links) await opened.close();
  await topology?.stop();
});

test.serial(
  "a request from one region is answered in another, whichever server asks",
  async (t) => {
    const us = await link("us");
    echo(await link("eu"), "t.eu.echo");
    echo(await link("central"), "t.central.echo");
    t.is(await answered(us, "t.eu.echo"), "hello");
    t.is(await answered(us, "t.central.echo"), "hello");
  },
);

test.serial(
  "a request that nobody listens to is refused as unavailable, not timed out",
  async (t) => {
    const us = await link("us");
    const fault = await t.throwsAsync(us.request("t.nobody", bytes("x"), 5_000), {
      instanceOf: Fault,
    });
    t.is(fault?.code, "unavailable");
  },
);

test.serial("a request that is heard but not answered ends at its own timeout", async (t) => {
  const us = await link("us");
  us.subscribe("t.silent", () => {});
  const fault = await t.throwsAsync(us.request("t.silent", bytes("x"), 200), { instanceOf: Fault });
  t.is(fault?.code, "link-lost");
});

test.serial("each domain keeps a bucket of its own under the same name", async (t) => {
  const us = await link("us");
  const usBucket = await us.kv("us", "records");
  const euBucket = await us.kv("eu", "records");
  await usBucket.put("who", "us");
  await euBucket.put("who", "eu");
  const seenFromAp = await (await link("ap")).kv("us", "records");
  t.is((await usBucket.get("who"))?.string(), "us");
  t.is((await euBucket.get("who"))?.string(), "eu");
  t.is((await seenFromAp.get("who"))?.string(), "us");
});

test.serial(
  "a JetStream server killed and restarted keeps its data, and every link works on",
  async (t) => {
    const us = await link("us");
    const eu = await link("eu");
    echo(us, "t.us.survivor");
    const bucket = await us.kv("us", "durable");
    const watched: string[] = [];
    const watch = await bucket.watch();
    void (async () => {
      for await (const entry of watch) watched.push(`${entry.key}=${entry.string()}`);
    })();
    await bucket.put("before", "kept");
    await eventually("the watch sees the first value", () => watched.includes("before=kept"));
    t.is(await answered(eu, "t.us.survivor"), "hello");

    await topology.kill("us", "j");
    t.is(
      await answered(eu, "t.us.survivor"),
      "hello",
      "messages move to the core server meanwhile",
    );
    await topology.restart("us", "j");

    const kept = await eventually("the bucket answers", () => bucket.get("before"));
    t.is(kept.string(), "kept");
    await eventually("the bucket takes writes", () => bucket.put("after", "new"));
    await eventually("the watch goes on by itself", () => watched.includes("after=new"));
    watch.stop();
  },
);

test.serial("a core server killed and restarted: regions reach each other again", async (t) => {
  const us = await link("us");
  const ap = await link("ap");
  echo(ap, "t.ap.survivor");
  t.is(await answered(us, "t.ap.survivor"), "hello");
  await topology.kill("ap", "g");
  await topology.restart("ap", "g");
  await topology.linked();
  t.is(await answered(us, "t.ap.survivor"), "hello");
  t.is((await (await ap.kv("us", "records")).get("who"))?.string(), "us");
});

test.serial("a frozen server is noticed by its silence and left for the other", async (t) => {
  const states: LinkState[] = [];
  const opened = openNats({
    servers: topology.urls("eu"),
    name: "test frozen",
    onState: (state) => states.push(state),
  });
  links.push(opened);
  await opened.connected;
  topology.signal("eu", "j", "SIGSTOP");
  try {
    await eventually("the link is down, then up", () => states.join() === "up,down,up");
    echo(opened, "t.eu.moved");
    t.is(await answered(opened, "t.eu.moved"), "hello");
  } finally {
    topology.signal("eu", "j", "SIGCONT");
  }
});

test.serial(
  "an outage of every server is outlasted, however often the link is refused",
  async (t) => {
    const refusalsWanted = 12; // more than the client's own patience of ten
    for (const other of links.splice(0)) await other.close(); // the refusals counted are all ours
    const eu = await link("eu");
    echo(eu, "t.eu.patient");
    await topology.kill("eu", "j");
    await topology.kill("eu", "g");
    let refusals = 0;
    const refuser = createServer((socket) => {
      refusals++;
      socket.destroy();
    });
    refuser.listen(Number(new URL(topology.urls("eu")[0] ?? "").port), "127.0.0.1");
    await once(refuser, "listening");
    await eventually("it goes on trying", () => refusals >= refusalsWanted);
    t.is(eu.state, "down");
    refuser.close();
    await once(refuser, "close");
    // The core server refused just as often, unseen: it must not have been given up either.
    await topology.restart("eu", "g");
    t.is(await answered(await link("us"), "t.eu.patient"), "hello");
    t.is(eu.state, "up");
    await topology.restart("eu", "j");
  },
);

test.serial(
  "a link opened before its server runs comes up when it does, subscriptions and all",
  async (t) => {
    await topology.kill("ap", "j");
    await topology.kill("ap", "g");
    const early = openNats({ servers: topology.urls("ap"), name: "test early" });
    links.push(early);
    echo(early, "t.ap.early");
    t.false(
      early.publish("t.ap.early", bytes("dropped")),
      "nothing piles up while the link is down",
    );
    t.is(early.state, "connecting");
    await topology.restart("ap", "g");
    await topology.restart("ap", "j");
    await early.connected;
    t.is(await answered(early, "t.ap.early"), "hello");
  },
);

test.serial("a closed link refuses requests and leaves nothing that keeps trying", async (t) => {
  const closedEarly = openNats({ servers: ["nats://127.0.0.1:1"], name: "test nowhere" });
  const connected = t.throwsAsync(closedEarly.connected, { instanceOf: Fault });
  await closedEarly.close();
  t.is((await connected)?.code, "unavailable");
  const us = await connectNats({ servers: topology.urls("us"), name: "test closing" });
  await us.close();
  const fault = await t.throwsAsync(us.request("t.us.x", bytes("x"), 500), { instanceOf: Fault });
  t.is(fault?.code, "unavailable");
});
