// `node test/bench/wan/main.ts`: what the emulated network gives beside what it was asked for: the
// round trips of a small message, and the rate of bulk transfers. Prints Markdown.
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import type { LinkShape } from "../../../deploy/wan/link-shape.ts";
import { startWanProcess, type WanProcess } from "../../deploy/wan/wan-process.ts";
import { dial } from "../../support/heard-server.ts";
import { percentile } from "../statistics.ts";

const ROUND_TRIPS = 100;
const BULK_MS = 3000;
const CHUNK = Buffer.alloc(64 << 10, "x");
const MEGABIT = 1e6 / 8;

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const clean: LinkShape = { rttMs: 0, jitterMs: 0, lossRate: 0, mbitPerS: null };

/** Echoes what it hears. */
const echo = createServer({ noDelay: true }, (socket) => socket.pipe(socket));
/** Counts what it hears. */
let sunkBytes = 0;
const sink = createServer((socket) => {
  socket.on("data", ({ byteLength }) => {
    sunkBytes += byteLength;
  });
});
for (const server of [echo, sink]) {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
}
const targets = [echo, sink].map((server) => `127.0.0.1:${(server.address() as AddressInfo).port}`);

await using wan = await startWanProcess(targets, clean);
await reportRoundTrips(wan);
await reportRates(wan);
for (const server of [echo, sink]) server.close();

async function reshape(shape: Partial<LinkShape>): Promise<void> {
  const body = JSON.stringify({ ...clean, ...shape });
  const answer = await fetch(`${wan.http}/links/us/eu`, { method: "PATCH", body });
  if (!answer.ok) throw new Error(await answer.text());
}

async function reportRoundTrips({ at }: WanProcess): Promise<void> {
  const shapes: Partial<LinkShape>[] = [
    {},
    { rttMs: 2 },
    { rttMs: 20 },
    { rttMs: 80 },
    { rttMs: 80, jitterMs: 20 },
    { rttMs: 160 },
    { rttMs: 80, lossRate: 0.01 },
  ];
  say("| RTT asked, ms | jitter | loss | p50 seen | p90 | p99 |");
  say("|---:|---:|---:|---:|---:|---:|");
  say(await roundTripRow("without the relay", clean, targets[0] ?? ""));
  for (const given of shapes) {
    const shape = { ...clean, ...given };
    await reshape(shape);
    say(await roundTripRow(String(shape.rttMs), shape, at(0)));
  }
}

async function roundTripRow(title: string, shape: LinkShape, address: string): Promise<string> {
  const socket = await dial(address);
  const seenMs: number[] = [];
  await roundTrip(socket); // the first waits for the handshake
  for (let count = 0; count < ROUND_TRIPS; count += 1) seenMs.push(await roundTrip(socket));
  socket.destroy();
  const [p50, p90, p99] = [0.5, 0.9, 0.99].map((share) => percentile(seenMs, share).toFixed(1));
  return `| ${title} | ${shape.jitterMs} | ${shape.lossRate} | ${p50} | ${p90} | ${p99} |`;
}

async function roundTrip(socket: Socket): Promise<number> {
  const startMs = performance.now();
  socket.write("x".repeat(100));
  await once(socket, "data");
  return performance.now() - startMs;
}

async function reportRates({ at }: WanProcess): Promise<void> {
  const cases: [number, Partial<LinkShape>][] = [
    [1, { mbitPerS: 10, rttMs: 80 }],
    [1, { mbitPerS: 100, rttMs: 80 }],
    [4, { mbitPerS: 100, rttMs: 80 }],
    [1, { mbitPerS: 500, rttMs: 80 }],
    [1, { mbitPerS: 500, rttMs: 160 }],
    [1, { mbitPerS: 500, rttMs: 80, jitterMs: 4, lossRate: 0.0005 }],
    [4, { mbitPerS: 500, rttMs: 80, jitterMs: 4, lossRate: 0.0005 }],
    [1, {}],
    [4, {}],
  ];
  say("\n| Mbit/s asked | connections | RTT, ms | loss | Mbit/s seen |");
  say("|---:|---:|---:|---:|---:|");
  for (const [connections, given] of cases) {
    const shape = { ...clean, ...given };
    await reshape(shape);
    const seen = (await rateOver(at(1), connections, shape.rttMs)) / MEGABIT;
    const asked = shape.mbitPerS ?? "unlimited";
    say(`| ${asked} | ${connections} | ${shape.rttMs} | ${shape.lossRate} | ${seen.toFixed(1)} |`);
  }
}

/** Bytes a second that arrive, once the first have. */
async function rateOver(address: string, connections: number, rttMs: number): Promise<number> {
  const sockets = await Promise.all(Array.from({ length: connections }, () => dial(address)));
  for (const socket of sockets) pour(socket);
  await pause(3 * rttMs + 500);
  const [startMs, startBytes] = [performance.now(), sunkBytes];
  await pause(BULK_MS);
  const perMs = (sunkBytes - startBytes) / (performance.now() - startMs);
  for (const socket of sockets) socket.destroy();
  await pause(2 * rttMs + 100);
  return perMs * 1000;
}

/** Writes as fast as the socket takes it, for as long as it is there. */
function pour(socket: Socket): void {
  const fill = () => {
    while (!socket.destroyed && socket.write(CHUNK));
  };
  socket.on("drain", fill);
  fill();
}

function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}
