// One delta's way to the disk, piece by piece.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { IncomingDelta } from "../../../region/round/incoming-delta.ts";
import { createArtifactStore } from "../../../sync/artifact/artifact-store.ts";
import { openSigningKey } from "../../../sync/delta/signing-key.ts";
import { adapterOf, offerOf, signedDelta } from "./round-fixture.ts";

const dir = mkdtempSync(join(tmpdir(), "isthmus-incoming-"));
const key = openSigningKey(join(dir, "key.pem"));
test.after.always(() => rmSync(dir, { recursive: true }));
const store = createArtifactStore({ dir: join(dir, "deltas") });

function incoming(seed: number) {
  const { manifest, bytes } = signedDelta(offerOf(), "us-1", key, adapterOf(seed));
  const delta = new IncomingDelta(manifest, store);
  const total = bytes.length;
  const piece = (start: number, end = total - 1) => ({ range: { start, end }, total });
  const body = (...chunks: Uint8Array[]) =>
    new Blob(chunks.map((c) => Uint8Array.from(c))).stream();
  return { delta, bytes, total, piece, body };
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

test("bytes that hash to something else are dropped, and the right ones taken after", async (t) => {
  const { delta, bytes, piece, body } = incoming(3);
  const damaged = bytes.map((byte, i) => (i === 77 ? byte ^ 4 : byte));
  t.deepEqual(await delta.receive(piece(0), body(damaged)), { kind: "corrupt" });
  t.is(await delta.received(), 0);
  t.deepEqual(await delta.receive(piece(0), body(bytes)), { kind: "whole" });
});
