// However a transfer is cut, damaged on the way or on the disk, and however often its process dies:
// it goes on from a sound byte, and what it ends with is what was sent.
import { createHash } from "node:crypto";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import fc from "fast-check";
import { ChunkedFile } from "../../../sync/delta/chunked-file.ts";
import {
  CHUNKS_MAX,
  chunksOfManifest,
  cutChunks,
  faultOfChunks,
  planChunks,
} from "../../../sync/delta/chunks.ts";
import { signManifest } from "../../../sync/delta/delta-manifest.ts";
import { openSigningKey } from "../../../sync/delta/signing-key.ts";

const seed = 20261123;
const dir = mkdtempSync(join(tmpdir(), "isthmus-chunks-"));
test.after.always(() => rmSync(dir, { recursive: true }));
let files = 0;
const freshPath = () => join(dir, `file-${++files}`);
const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const contentOf = (length: number, salt: number) =>
  Uint8Array.from({ length }, (_, i) => (i * 31 + salt * 17 + (i >> 3)) & 255);

/** What may happen between two sound bytes. */
const mishap = fc.oneof(
  /** A connection that ends after so many bytes. */
  fc.record({ kind: fc.constant("cut" as const), bytes: fc.integer({ min: 1, max: 90 }) }),
  /** The same, and one of its bits arrives wrong. */
  fc.record({ kind: fc.constant("flip" as const), bytes: fc.integer({ min: 1, max: 90 }) }),
  /** The process dies and another one opens the file. */
  fc.record({ kind: fc.constant("kill" as const) }),
  /** It dies with a write under way: anything may stand at the file's end. */
  fc.record({ kind: fc.constant("torn" as const), bytes: fc.integer({ min: 1, max: 90 }) }),
  /** A bit of what is there turns on the disk, and the process dies. */
  fc.record({ kind: fc.constant("rot" as const), at: fc.nat() }),
);

test("any cut of a transfer resumes, and ends with the bytes that were sent", async (t) => {
  const setting = fc.record({
    length: fc.integer({ min: 1, max: 700 }),
    chunkBytes: fc.integer({ min: 1, max: 128 }),
    mishaps: fc.array(mishap, { maxLength: 30 }),
  });
  await fc.assert(
    fc.asyncProperty(setting, async ({ length, chunkBytes, mishaps }) => {
      const path = freshPath();
      const content = contentOf(length, mishaps.length);
      const plan = cutChunks(content, chunkBytes);
      let file = await ChunkedFile.open(path, plan);
      const reopen = async (between: () => void) => {
        const before = file.offset;
        await file.close();
        between();
        file = await ChunkedFile.open(path, plan);
        return before;
      };
      for (const one of mishaps) {
        const before = file.offset;
        const from = content.slice(before, before + ("bytes" in one ? one.bytes : 0));
        if (one.kind === "cut") {
          // A bit that turned before may come to light only now.
          const { kind } = await file.write(from);
          t.is(file.offset >= before + from.length, kind === "ok");
        } else if (one.kind === "flip" && from.length > 0) {
          from[from.length - 1]! ^= 1;
          await file.write(from);
        } else if (one.kind === "kill") {
          await reopen(() => {});
        } else if (one.kind === "torn") {
          await reopen(() => appendFileSync(path, Buffer.alloc(one.bytes, 0xee)));
        } else if (one.kind === "rot" && before > 0) {
          await reopen(() => {
            const bytes = readFileSync(path);
            bytes[one.at % bytes.length]! ^= 1;
            writeFileSync(path, bytes);
          });
        }
        t.true(file.offset <= content.length);
        // Every whole chunk that is here is sound, whatever happened to those after it.
        const sound = file.offset - (file.offset % chunkBytes);
        t.deepEqual(readFileSync(path).subarray(0, sound), Buffer.from(content.slice(0, sound)));
      }
      for (let tries = 0; !file.isWhole && tries < 3; tries++) {
        await file.write(content.slice(file.offset));
      }
      t.true(file.isWhole);
      t.is(file.digest(), hashOf(content));
      await file.close();
      t.deepEqual(readFileSync(path), Buffer.from(content));
    }),
    { seed, numRuns: 150 },
  );
});

test("a chunk that hashes to something else is dropped the moment it is whole", async (t) => {
  const content = contentOf(100, 1);
  const file = await ChunkedFile.open(freshPath(), cutChunks(content, 40));
  const damaged = content.slice();
  damaged[50]! ^= 1;
  t.deepEqual(await file.write(damaged.subarray(0, 79)), { kind: "ok" });
  t.is(file.offset, 79);
  t.deepEqual(await file.write(damaged.subarray(79)), { kind: "bad-chunk", chunk: 1 });
  t.is(file.offset, 40);
  t.is(file.digest(), hashOf(content.subarray(0, 40)));
  t.deepEqual(await file.write(content.subarray(40)), { kind: "ok" });
  t.is(file.digest(), hashOf(content));
  await file.close();
});

test("a plan has few enough chunks for a manifest, and its manifest is found sound", (t) => {
  const key = openSigningKey(join(dir, "key.pem"));
  for (const length of [1, 65_536, 65_537, 40 << 20]) {
    const bytes = new Uint8Array(length);
    const plan = planChunks(bytes);
    t.true(plan.hashes.length <= CHUNKS_MAX && plan.hashes.length >= 1);
    t.true(plan.chunkBytes >= 1 << 16);
    const manifest = signManifest(
      {
        delta: { sha256: hashOf(bytes), bytes: BigInt(length) },
        chunkBytes: plan.chunkBytes,
        chunkSha256: [...plan.hashes],
      },
      key,
    );
    t.is(faultOfChunks(manifest), null);
    t.deepEqual(chunksOfManifest(manifest), plan);
  }
});
