// What a link does to the bytes between two processes, on real sockets.
import { once } from "node:events";
import { connect } from "node:net";
import test from "ava";
import fc from "fast-check";
import { UNDERWAY_BYTES_MAX } from "../../deploy/wan/pipe.ts";
import { eventually } from "../support/eventually.ts";
import { dial, startHeardServer } from "../support/heard-server.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { LinkProxy } from "./link-proxy.ts";

/** A server and a link to it. */
async function laid(clock?: ManualClock) {
  const server = await startHeardServer();
  const { heard, address: target } = server;
  const link = await LinkProxy.listen({ target, ...(clock && { clock }) });
  return {
    heard,
    link,
    dial: () => dial(link.address),
    settle: () => server.settle(),
    async [Symbol.asyncDispose]() {
      await link.close();
      server[Symbol.dispose]();
    },
  };
}

/** Connects through the link and waits until the server has greeted back. */
async function pair({ heard, dial }: Awaited<ReturnType<typeof laid>>) {
  const client = await dial();
  client.write("hi");
  const server = await eventually("the server hears", () => heard.find((one) => one.text === "hi"));
  server.text = "";
  server.socket.write("yo");
  await once(client, "data");
  let received = "";
  client.on("data", (bytes) => {
    received += bytes;
  });
  return { client, server, received: () => received };
}

test("a link that passes carries bytes and ends both ways, whatever their sizes", async (t) => {
  await using set = await laid();
  const sizes = fc.array(fc.integer({ min: 1, max: 200_000 }), { minLength: 1, maxLength: 8 });
  const carries = fc.asyncProperty(sizes, async (lengths) => {
    const client = await set.dial();
    for (const [at, length] of lengths.entries()) client.write(String(at).repeat(length));
    client.end();
    const entry = await eventually("the end arrives", () => set.heard.find(({ ended }) => ended));
    t.is(entry.text, lengths.map((length, at) => String(at).repeat(length)).join(""));
    const closed = once(client.resume(), "close");
    entry.socket.end("bye");
    await closed;
    t.falsy(client.errored);
    set.heard.length = 0;
  });
  await fc.assert(carries, { numRuns: 20, seed: 1 });
  await eventually("no connection is left", () => set.link.connections === 0);
});

test("who doesn't go this way is reset, and none of it arrives", async (t) => {
  using server = await startHeardServer();
  const admits = (first: Buffer) => first.toString() === "us";
  await using link = await LinkProxy.listen({ target: server.address, admits });
  const [stranger, known] = [await dial(link.address), await dial(link.address)];
  stranger.on("error", () => {}).write("eu");
  known.write("us");
  await eventually("the known one is heard", () => server.heard.some(({ text }) => text === "us"));
  await eventually("the stranger is reset", () => stranger.destroyed);
  t.false(server.heard.some(({ text }) => text.includes("eu")));
});

test("a black hole holds bytes and ends, and delivers them when it is over", async (t) => {
  await using set = await laid();
  const { client, server, received } = await pair(set);
  set.link.blackHole();
  server.socket.write("answer");
  client.end("question");
  await set.settle();
  t.is(server.text, "");
  t.false(server.ended);
  t.is(received(), "");
  set.link.pass();
  await eventually("the question arrives late", () => server.text === "question" && server.ended);
  await eventually("so does the answer", () => received() === "answer");
});

test("a black hole takes new connections that lead nowhere", async (t) => {
  await using set = await laid();
  set.link.blackHole();
  const client = await set.dial();
  client.write("anybody?");
  await set.settle();
  t.is(set.heard.length, 0);
  set.link.pass();
  await eventually("it arrives late", () => set.heard[0]?.text === "anybody?");
});

test("a black hole in one direction leaves the other alone", async (t) => {
  await using set = await laid();
  const { client, server, received } = await pair(set);
  set.link.blackHole("backward");
  client.write("question");
  await eventually("questions arrive", () => server.text === "question");
  server.socket.write("answer");
  await set.settle();
  t.is(received(), "", "answers don't");
  set.link.pass();
  set.link.blackHole("forward");
  await eventually("now answers arrive", () => received() === "answer");
  client.write("more");
  await set.settle();
  t.is(server.text, "question", "and questions don't");
});

test("a reset on one side of a black hole shows on the other only when it is over", async (t) => {
  await using set = await laid();
  const { client, server } = await pair(set);
  set.link.blackHole();
  server.socket.resetAndDestroy();
  await set.settle();
  t.is(client.errored, null);
  t.false(client.destroyed);
  set.link.pass();
  await eventually("the reset arrives", () => client.errored !== null);
});

test("a cut resets both ends and every new connection until the link passes", async (t) => {
  await using set = await laid();
  const { client, server } = await pair(set);
  set.link.cut();
  await eventually("both ends see a reset", () => client.errored !== null && server.reset);
  const refused = connect({ host: "127.0.0.1", port: Number(set.link.address.split(":")[1]) });
  const [problem] = (await once(refused, "error")) as [NodeJS.ErrnoException];
  t.is(problem.code, "ECONNRESET", "a new one is reset too");
  set.link.pass();
  await pair(set);
  t.is(set.link.connections, 1);
});

test("a target that isn't there resets the caller", async (t) => {
  await using link = await LinkProxy.listen({ target: "127.0.0.1:1" });
  const socket = connect({ host: "127.0.0.1", port: Number(link.address.split(":")[1]) });
  const [problem] = (await once(socket, "error")) as [NodeJS.ErrnoException];
  t.is(problem.code, "ECONNRESET");
});

test("a delay holds each chunk for its time and keeps the order", async (t) => {
  const clock = new ManualClock();
  await using set = await laid(clock);
  const { client, server } = await pair(set);
  set.link.delay(100, 0, "forward");
  client.write("a");
  await eventually("the first chunk waits", () => clock.timers === 1);
  clock.advance(99);
  await set.settle();
  t.is(server.text, "");
  clock.advance(1);
  await eventually("it arrives", () => server.text === "a");
  client.write("b");
  await eventually("the second waits", () => clock.timers === 1);
  set.link.pass();
  await eventually("passing lets it go", () => server.text === "ab");
});

test("a delay holds a bounded number of bytes back: the sender waits", async (t) => {
  const clock = new ManualClock();
  await using set = await laid(clock);
  const { client, server } = await pair(set);
  set.link.delay(100, 0, "forward");
  // Far more than the link and the sockets' own buffers hold together.
  const megabytes = 64;
  for (let count = 0; count < megabytes; count += 1) client.write(Buffer.alloc(1 << 20, "x"));
  await eventually("the sender's bytes pile up", () => client.writableLength > UNDERWAY_BYTES_MAX);
  await set.settle();
  t.true(client.writableLength > UNDERWAY_BYTES_MAX, "and stay there while nothing may arrive");
  await eventually("all of it arrives in the end", () => {
    clock.advance(100);
    return server.text.length === megabytes << 20;
  });
});
