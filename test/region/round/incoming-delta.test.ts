// One delta's way to the disk, piece by piece.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { IncomingDelta } from "../../../region/round/incoming-delta.ts";
import { createArtifactStore } from "../../../sync/artifact/artifact-store.ts";
import type { DeltaStatement } from "../../../sync/delta/delta-manifest.ts";
import { openSigningKey } from "../../../sync/delta/signing-key.ts";
import { adapterOf, CHUNK_BYTES, offerOf, signedDelta } from "./round-fixture.ts";

const dir = mkdtempSync(join(tmpdir(), "isthmus-incoming-"));
const key = openSigningKey(join(dir, "key.pem"));
test.after.always(() => rmSync(dir, { recursive: true }));
const store = createArtifactStore({ dir: join(dir, "deltas") });

function incoming(seed: number, change: Partial<DeltaStatement> = {}) {
  const { manifest, bytes } = signedDelta(offerOf(), "us-1", key, adapterOf(seed), change);
  const path = join(dir, `incoming-${seed}`);
  const delta = new IncomingDelta(manifest, store, path);
  const total = bytes.length;
  const piece = (start: number, end = total - 1) => ({ range: { start, end }, total });
  const body = (...chunks: Uint8Array[]) =>
    new Blob(chunks.map((c) => Uint8Array.from(c))).stream();
  return { delta, bytes, total, path, piece, body };
}

/** A body that stays open after these bytes. */
const stuck = (bytes: Uint8Array) =>
  new ReadableStream<Uint8Array>({ start: (controller) => controller.enqueue(bytes) });

test("a piece that never ends gives way to the next, whenever that comes", async (t) => {
  const { delta, bytes, total, piece, body } = incoming(1);
  // At once, before the first piece has even opened its file.
  const early = delta.receive(piece(0), stuck(bytes.subarray(0, 10)));
  await delta.interrupt();
  const { received } = (await early) as { received: number };
  const rest = await delta.receive(piece(received, 49), body(bytes.subarray(received, 50)));
  t.deepEqual(rest, { kind: "partial", received: 50 });
  const late = delta.receive(piece(50), stuck(bytes.subarray(50, 60)));
  const last = delta.receive(piece(60), body(bytes.subarray(60)));
  t.is((await late).kind, "partial");
  const end = await last;
  if (end.kind === "misplaced") {
    t.deepEqual(await delta.receive(piece(end.received), body(bytes.subarray(end.received))), {
      kind: "whole",
    });
  }
  t.true(delta.isWhole);
  t.is(await delta.received(), total);
});

test("a piece must be what its range says", async (t) => {
  const { delta, bytes, total, piece, body } = incoming(2);
  t.deepEqual(await delta.receive(piece(0, 9), body(bytes.subarray(0, 10))), {
    kind: "partial",
    received: 10,
  });
  t.deepEqual(await delta.receive(piece(0), body(bytes)), { kind: "misplaced", received: 10 });
  await t.throwsAsync(delta.receive(piece(10, 19), body(bytes.subarray(10, 40))), {
    message: /goes on past byte 20/,
  });
  const other = { range: { start: 10, end: 19 }, total: total + 1 };
  await t.throwsAsync(delta.receive(other, null), { message: /the manifest says/ });
  t.is((await delta.receive({ range: undefined, total }, null)).kind, "partial");
});

test("a damaged chunk is dropped at once, the sound ones before it stay", async (t) => {
  const { delta, bytes, piece, body } = incoming(3);
  const damaged = bytes.map((byte, i) => (i === 77 ? byte ^ 4 : byte));
  const answer = await delta.receive(piece(0), body(damaged));
  t.deepEqual(answer, { kind: "bad-chunk", chunk: 1, received: CHUNK_BYTES });
  t.is(await delta.received(), CHUNK_BYTES);
  const rest = body(bytes.subarray(CHUNK_BYTES));
  t.deepEqual(await delta.receive(piece(CHUNK_BYTES), rest), { kind: "whole" });
});

test("sound chunks of another whole than the manifest names are dropped", async (t) => {
  const other = { sha256: "e".repeat(64), bytes: BigInt(incoming(4).total), name: "other" };
  const { delta, bytes, piece, body } = incoming(4, { delta: other });
  t.deepEqual(await delta.receive(piece(0), body(bytes)), { kind: "corrupt" });
  t.is(await delta.received(), 0);
});

test("what a killed process left is verified before more is taken", async (t) => {
  const { delta, bytes, path, piece, body } = incoming(5);
  await delta.receive(piece(0, 199), body(bytes.subarray(0, 200)));
  await delta.close();
  const left = readFileSync(path);
  left[130]! ^= 1;
  writeFileSync(path, left);
  const again = incoming(5);
  t.is(await again.delta.received(), 2 * CHUNK_BYTES);
  const rest = body(bytes.subarray(2 * CHUNK_BYTES));
  t.deepEqual(await again.delta.receive(piece(2 * CHUNK_BYTES), rest), { kind: "whole" });
});
