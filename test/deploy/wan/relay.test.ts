// What the emulated network does to real connections, at the pace of a clock that the test moves.
import { createHash } from "node:crypto";
import { once } from "node:events";
import type { Socket } from "node:net";
import { setImmediate as turn } from "node:timers/promises";
import test from "ava";
import fc from "fast-check";
import type { RouteConfig } from "../../../deploy/wan/config.ts";
import type { LinkShape } from "../../../deploy/wan/link-shape.ts";
import { HeldBytes } from "../../../deploy/wan/pipe.ts";
import { Relay } from "../../../deploy/wan/relay.ts";
import { siteFinder } from "../../../deploy/wan/site-finder.ts";
import { WanLinks } from "../../../deploy/wan/wan-links.ts";
import { silentLog } from "../../../runtime/log.ts";
import { seededRandom } from "../../../sync/formats/seeded-random.ts";
import { eventually } from "../../support/eventually.ts";
import { dial, startHeardServer } from "../../support/heard-server.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const HELD_BYTES_MAX = 4 << 20;
/** Most that a socket gives at once. */
const PIECE_BYTES_MAX = 64 << 10;
const clean: LinkShape = { rttMs: 100, jitterMs: 0, lossRate: 0, mbitPerS: null };
const sites = {
  us: { subnets: ["127.0.1.0/24"] },
  eu: { subnets: ["127.0.2.0/24"] },
  ap: { subnets: [] },
};

/** A server in us, and the ways to it from callers in eu (twice) and ap, and from nowhere. */
async function laid(shape: Partial<LinkShape> = {}) {
  const clock = new ManualClock();
  const server = await startHeardServer();
  const given = { ...clean, ...shape };
  const held = new HeldBytes(HELD_BYTES_MAX);
  const random = seededRandom(5);
  const config = { sites, links: [{ between: ["us", "eu"] as [string, string], ...given }] };
  const links = new WanLinks(config, { clock, random: () => random.next(), held });
  const route = { port: 0, site: "us", target: server.address };
  const routes: RouteConfig[] = [
    { ...route, host: "127.0.0.1", from: "eu" },
    { ...route, host: "127.0.2.1" },
    { ...route, host: "127.0.0.1", from: "ap" },
    { ...route, host: "127.0.0.1" },
    { ...route, host: "127.0.1.1" },
  ];
  const relay = await Relay.listen(routes, { links, siteOf: siteFinder(sites), log: silentLog() });
  const [eu = "", euSubnet = "", ap = "", nowhere = "", us = ""] = relay.addresses;
  const opened: Socket[] = [];
  return {
    clock,
    links,
    link: links.between("us", "eu"),
    relay,
    held,
    heard: server.heard,
    addresses: { eu, euSubnet, ap, nowhere, us },
    settle: () => server.settle(),
    async dial(address = eu) {
      const socket = await dial(address);
      opened.push(socket);
      return socket;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of opened) socket.destroy();
      await relay.close();
      server[Symbol.dispose]();
    },
  };
}

const digestOf = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

type Laid = Awaited<ReturnType<typeof laid>>;

/** Lets time pass, in steps, until something has happened. */
async function pass(
  { clock }: Laid,
  claim: string,
  isDone: () => boolean,
  stepMs = 1,
): Promise<void> {
  for (let turns = 0; !isDone(); turns += 1) {
    if (turns > 200_000) throw new Error(`never: ${claim}`);
    clock.advance(stepMs);
    await turn();
  }
}

/** A caller and the server's side of its connection. */
async function pair(set: Laid, address?: string) {
  const known = set.heard.length;
  const client = await set.dial(address);
  client.write("hi");
  await pass(set, "the server hears", () => set.heard[known]?.text === "hi");
  const server = set.heard[known]!;
  server.text = "";
  let received = "";
  client.on("data", (bytes) => {
    received += bytes.toString("latin1");
  });
  return { client, server, received: () => received };
}

test("a caller's first bytes come after the handshake, an answer half a trip later", async (t) => {
  await using set = await laid();
  const client = await set.dial();
  client.write("hi");
  await eventually("the relay has taken them", () => set.held.bytes === 2);
  set.clock.advance(149);
  await set.settle();
  t.is(set.heard.length, 0, "SYN, SYN-ACK and ACK take a round trip and a half");
  set.clock.advance(1);
  await eventually("the server hears", () => set.heard[0]?.text === "hi");
  const answer = once(client, "data");
  set.heard[0]?.socket.write("yo");
  await eventually("the answer is under way", () => set.held.bytes === 2);
  set.clock.advance(49);
  await set.settle();
  t.is(client.bytesRead, 0);
  set.clock.advance(1);
  t.is(String((await answer)[0]), "yo");
});

test("whatever the link, all bytes and ends arrive once and in order, both ways", async (t) => {
  await using set = await laid();
  const plans = fc.record({
    shape: fc.record({
      rttMs: fc.constantFrom(0, 3, 90),
      jitterMs: fc.constantFrom(0, 40),
      lossRate: fc.constantFrom(0, 0.05, 0.3),
      mbitPerS: fc.constantFrom(null, 100, 4000),
    }),
    sizes: fc.array(fc.integer({ min: 1, max: 300_000 }), { minLength: 1, maxLength: 6 }),
    seed: fc.nat(),
  });
  const carries = fc.asyncProperty(plans, async ({ shape, sizes, seed }) => {
    set.link.change(shape);
    const random = seededRandom(seed);
    const texts = sizes.map((size) =>
      Buffer.from(Array.from({ length: size }, () => random.below(256))),
    );
    const sent = digestOf(Buffer.concat(texts));
    const { client, server, received } = await pair(set);
    for (const text of texts) {
      client.write(text);
      server.socket.write(text);
    }
    client.end();
    await pass(set, "the end arrives", () => server.ended, 50);
    t.is(digestOf(Buffer.from(server.text, "latin1")), sent);
    server.socket.end();
    await pass(set, "the other end arrives", () => client.readableEnded, 50);
    t.is(digestOf(Buffer.from(received(), "latin1")), sent);
    t.falsy(client.errored);
    set.heard.length = 0;
  });
  await fc.assert(carries, { numRuns: 12, seed: 3 });
  await pass(set, "nothing is left", () => set.link.view.connections === 0);
  t.is(set.held.bytes, 0);
});

test("a cut holds bytes and ends, new connections hang, and healing delivers", async (t) => {
  await using set = await laid();
  const { client, server, received } = await pair(set);
  server.socket.write("under way");
  await eventually("it is", () => set.held.bytes > 0);
  set.link.change({ cut: true });
  server.socket.write(", held");
  client.end("question");
  const late = await set.dial();
  late.write("anybody?");
  set.clock.advance(60_000);
  await set.settle();
  t.is(received(), "");
  t.is(server.text, "");
  t.is(set.heard.length, 1);
  t.false(late.readableEnded || late.errored !== null);
  set.link.change({ cut: false });
  await pass(set, "the held arrive", () => server.ended && received() === "under way, held");
  t.is(server.text, "question");
  await pass(set, "the late one arrives", () => set.heard[1]?.text === "anybody?");
});

test("who gives up while a link is cut was never there", async (t) => {
  await using set = await laid();
  set.link.change({ cut: true });
  const hasty = await set.dial();
  await eventually("it hangs", () => set.link.view.connections === 1);
  hasty.end();
  await eventually("it is forgotten", () => set.link.view.connections === 0);
  set.link.change({ cut: false });
  set.clock.advance(1000);
  await set.settle();
  t.is(set.heard.length, 0);
});

test("a cut in the middle of a handshake begins it anew", async (t) => {
  await using set = await laid();
  const client = await set.dial();
  client.write("hi");
  await eventually("the relay has taken them", () => set.held.bytes === 2);
  set.clock.advance(100);
  set.link.change({ cut: true });
  set.clock.advance(1000);
  set.link.change({ cut: false });
  set.clock.advance(149);
  await set.settle();
  t.is(set.heard.length, 0);
  set.clock.advance(1);
  await eventually("the server hears", () => set.heard[0]?.text === "hi");
});

test("a changed link changes for the connections that are there", async (t) => {
  await using set = await laid();
  const { client, server } = await pair(set);
  set.link.change({ rttMs: 2000 });
  client.write("slow");
  await eventually("it is under way", () => set.held.bytes === 4);
  set.clock.advance(999);
  await set.settle();
  t.is(server.text, "");
  set.clock.advance(1);
  await eventually("it arrives", () => server.text === "slow");
});

test("connections share a link's rate evenly, and leave the other direction alone", async (t) => {
  await using set = await laid({ mbitPerS: 8 }); // 1000 bytes a millisecond
  const first = await pair(set);
  const second = await pair(set);
  const megabyte = Buffer.alloc(1 << 20, "x");
  const startMs = set.clock.monotonicMs();
  first.client.write(megabyte);
  second.client.write(megabyte);
  await pass(set, "half of it arrives", () => first.server.text.length >= 400_000);
  const shares = [first, second].map(({ server }) => server.text.length);
  const elapsedMs = set.clock.monotonicMs() - startMs;
  t.true(shares[0]! + shares[1]! <= 1000 * (elapsedMs - 50), `${shares} in ${elapsedMs} ms`);
  t.true(Math.abs(shares[0]! - shares[1]!) < 150_000, `${shares}`);
  const askedMs = set.clock.monotonicMs();
  first.server.socket.write("answer");
  await pass(set, "the other direction is free", () => first.received() === "answer");
  t.true(set.clock.monotonicMs() - askedMs < 80);
});

const MEGABYTES = 64;

function pour(client: Socket): void {
  for (let count = 0; count < MEGABYTES; count += 1) client.write(Buffer.alloc(1 << 20, "x"));
}

/** Lets whatever can move do so, in hardly any of the clock's time. */
async function stir(set: Laid): Promise<void> {
  for (let turns = 0; turns < 500; turns += 1) {
    set.clock.advance(1);
    await turn();
  }
}

test("a reader that doesn't read makes its sender wait, and nobody else", async (t) => {
  await using set = await laid({ rttMs: 0 });
  const { client, server } = await pair(set);
  const other = await pair(set);
  server.socket.pause();
  pour(client);
  await stir(set);
  t.true(set.held.bytes <= 2 * PIECE_BYTES_MAX, `${set.held.bytes}`);
  t.true(client.writableLength > 16 << 20, "the rest is still the sender's");
  other.client.write("me too");
  await pass(set, "another connection goes on", () => other.server.text === "me too");
  server.socket.resume();
  await pass(set, "all of it arrives", () => server.text.length === MEGABYTES << 20);
});

test("what is under way is bounded, and leaves room for each connection", async (t) => {
  await using set = await laid();
  const { client, server } = await pair(set);
  const other = await pair(set);
  set.link.change({ rttMs: 10_000 });
  pour(client);
  await pass(set, "the link is full", () => set.held.bytes >= HELD_BYTES_MAX, 0.01);
  await stir(set);
  t.true(set.held.bytes <= HELD_BYTES_MAX + 2 * PIECE_BYTES_MAX, `${set.held.bytes}`);
  other.client.write("me too");
  await pass(set, "another connection goes on", () => other.server.text === "me too", 50);
  set.link.change({ rttMs: 0 });
  await pass(set, "all of it arrives", () => server.text.length === MEGABYTES << 20);
});

test("a connection goes over the link of the site at whose address it was accepted", async (t) => {
  await using set = await laid();
  await pair(set, set.addresses.euSubnet);
  t.is(set.link.view.connections, 1);
  t.is(set.link.view.bytes, 2);
  await pair(set, set.addresses.ap);
  t.is(set.links.between("ap", "us").view.connections, 1);
  t.is(set.link.view.connections, 1);
});

test("who calls from nowhere, or from the target's own site, is reset", async (t) => {
  await using set = await laid();
  for (const address of [set.addresses.nowhere, set.addresses.us]) {
    const reset = set.dial(address).then(
      (socket) => eventually("it is reset", () => socket.errored),
      (error: Error) => error, // so soon that it never was connected
    );
    t.like(await reset, { code: "ECONNRESET" });
  }
  t.is(set.relay.refused, 2);
});

test("a target that isn't there resets the caller once it would have heard of it", async (t) => {
  await using set = await laid();
  const routes = [{ host: "127.0.0.1", port: 0, site: "us", target: "127.0.0.1:1", from: "eu" }];
  const parts = { links: set.links, siteOf: siteFinder(sites), log: silentLog() };
  const relay = await Relay.listen(routes, parts);
  const socket = await set.dial(relay.addresses[0]);
  await pass(set, "the reset arrives", () => socket.errored !== null);
  t.true(set.clock.monotonicMs() >= 200);
  await relay.close();
});

test("a port that is taken is named, and no other stays open", async (t) => {
  await using set = await laid();
  const taken = { host: "127.0.0.1", port: 0, site: "us", target: "127.0.0.1:1", from: "eu" };
  const port = Number(set.addresses.eu.split(":")[1]);
  const parts = { links: set.links, siteOf: siteFinder(sites), log: silentLog() };
  const listening = Relay.listen([taken, { ...taken, port }], parts);
  await t.throwsAsync(listening, {
    message: /the way to 127.0.0.1:1 can't listen on .*EADDRINUSE/,
  });
});
