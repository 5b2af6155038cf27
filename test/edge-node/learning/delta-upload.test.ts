// A delta's way to a real region over a link that breaks again and again, and turns bits: it
// arrives whole, once, and no sound byte is sent twice because of a cut.
import { mkdtempSync, writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import test from "ava";
import { uploadDelta } from "../../../edge-node/learning/delta-upload.ts";
import { systemClock } from "../../../runtime/clock.ts";
import { planChunks } from "../../../sync/delta/chunks.ts";
import { openSigningKey } from "../../../sync/delta/signing-key.ts";
import type { TensorMap } from "../../../sync/delta/tensor-map.ts";
import { seededRandom } from "../../../sync/formats/seeded-random.ts";
import {
  bytesOf,
  hashOf,
  MODEL,
  offerOf,
  RANK,
  type RunningRegion,
  signedDelta,
  startRegion,
} from "../../region/round/round-fixture.ts";
import { linkedNats } from "../../support/linked-nats.ts";

const { dir, nats } = await linkedNats();
const key = openSigningKey(join(dir, "key.pem"));
const members = [{ edge: "us-1", models: [MODEL], publicKey: key.publicKey }];
const INPUTS = 40_000;
/** An adapter of several chunks. */
function wideAdapter(seed: number): TensorMap {
  const random = seededRandom(seed);
  const numbers = (count: number) => Float32Array.from({ length: count }, () => random.gauss());
  return new Map([
    ["blk.0.attn_q.weight.lora_a", { shape: [RANK, INPUTS], data: numbers(RANK * INPUTS) }],
    ["blk.0.attn_q.weight.lora_b", { shape: [4, RANK], data: numbers(4 * RANK) }],
  ]);
}

const start = bytesOf(wideAdapter(0));
const offer = offerOf({
  campaign: "links",
  adapterState: { sha256: hashOf(start), bytes: BigInt(start.length), name: "state" },
  params: { rank: RANK, alpha: 4, steps: 2 },
});

/** What becomes of one connection's bytes on their way to the region. */
type Fate = { readonly cutAt: number } | { readonly flipAt: number } | null;

/** A link whose connections meet these fates, one after another; the ones after them none. */
async function brokenLink(target: string, fates: Fate[]) {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  let forwarded = 0;
  const link = createServer((client) => {
    const upstream = connect(Number(port), hostname);
    let passed = 0;
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        client.destroy();
        upstream.destroy();
      });
    }
    const fate = fates.shift() ?? null;
    client.on("data", (bytes) => {
      const end = passed + bytes.length;
      const isFlipped = fate !== null && "flipAt" in fate && fate.flipAt >= passed;
      if (isFlipped && fate.flipAt < end) bytes[fate.flipAt - passed]! ^= 8;
      const isCut = fate !== null && "cutAt" in fate && fate.cutAt < end;
      const piece = isCut ? bytes.subarray(0, Math.max(0, fate.cutAt - passed)) : bytes;
      forwarded += piece.length;
      passed = end;
      upstream.write(piece, () => void (isCut && client.destroy()));
    });
    upstream.pipe(client);
  });
  await new Promise<void>((resolve) => link.listen(0, "127.0.0.1", resolve));
  return {
    address: `http://127.0.0.1:${(link.address() as { port: number }).port}`,
    forwarded: () => forwarded,
    unused: () => fates.length,
    stop: () => {
      for (const socket of sockets) socket.destroy();
      link.close();
    },
  };
}

async function withRegion(run: (running: RunningRegion) => Promise<void>): Promise<void> {
  const files = new Map([[hashOf(start), start]]);
  const running = await startRegion(mkdtempSync(join(dir, "region-")), nats, () => members, files);
  try {
    await running.rounds.offer(offer);
    await run(running);
  } finally {
    await running.stop();
  }
}

function deltaOnDisk(seed: number) {
  const tensors = wideAdapter(seed);
  const { chunkBytes, hashes } = planChunks(bytesOf(tensors));
  const change = { chunkBytes, chunkSha256: [...hashes] };
  const delta = signedDelta(offer, "us-1", key, tensors, change);
  const path = join(dir, `delta-${seed}`);
  writeFileSync(path, delta.bytes);
  return { ...delta, path };
}

const upload = (delta: ReturnType<typeof deltaOnDisk>, address: string) =>
  uploadDelta({
    manifest: delta.manifest,
    path: delta.path,
    address: () => address,
    deadlineMs: Number(offer.deadlineMs),
    clock: systemClock,
    signal: new AbortController().signal,
  });

test.serial("it resumes after every cut and sends a damaged chunk again", async (t) => {
  await withRegion(async ({ http, rounds, metrics }) => {
    const delta = deltaOnDisk(1);
    t.true(delta.manifest.chunkSha256.length >= 5);
    const fates = [{ cutAt: 70_000 }, { cutAt: 9_000 }, { cutAt: 90_001 }, { flipAt: 99_000 }];
    const link = await brokenLink(http, fates);
    try {
      t.like(await upload(delta, link.address), { included: true, status: "included" });
      t.is(link.unused(), 0);
      // Each cut costs what was in flight, and the damaged chunk itself: never the whole again.
      t.true(link.forwarded() < 2 * delta.bytes.length, `${link.forwarded()} bytes`);
      t.regex(await metrics.text(), /isthmus_round_chunks_refused_total\{?[^ ]* 1\n/);
      const seat = rounds.round("links", 1)!.state.seats.get("us-1")!;
      t.is(seat.manifest!.delta!.sha256, hashOf(delta.bytes));
      t.like(await upload(delta, http), { included: true, status: "duplicate" });
      t.like(await upload(deltaOnDisk(2), http), { included: false, status: "conflict" });
    } finally {
      link.stop();
    }
  });
});

test.serial("a delta that was damaged on the edge's own disk isn't sent at all", async (t) => {
  await withRegion(async ({ http, rounds }) => {
    const delta = deltaOnDisk(3);
    const damaged = delta.bytes.map((byte, i) => (i === 200_000 ? byte ^ 1 : byte));
    for (const bytes of [
      damaged,
      delta.bytes.subarray(0, -1),
      Buffer.concat([delta.bytes, start]),
    ]) {
      writeFileSync(delta.path, bytes);
      t.like(await upload(delta, http), { included: false, status: "damaged" });
    }
    t.is(rounds.round("links", 1)!.state.seats.get("us-1")!.manifest, null);
    writeFileSync(delta.path, delta.bytes);
    t.like(await upload(delta, http), { included: true });
  });
});
