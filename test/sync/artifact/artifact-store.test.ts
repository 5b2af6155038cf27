// The store on a real disk.
import { createHash } from "node:crypto";
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import fc from "fast-check";
import type { Sha256 } from "../../../proto/ids.ts";
import { createArtifactStore } from "../../../sync/artifact/artifact-store.ts";

function folder(t: ExecutionContext): string {
  const dir = mkdtempSync(join(tmpdir(), "isthmus-store-"));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

const nameOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex") as Sha256;
const pieces = async function* (bytes: Uint8Array, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
};

test("what is put comes back byte for byte, also by range and after a restart", async (t) => {
  const dir = folder(t);
  const law = fc.asyncProperty(
    fc.uint8Array({ minLength: 1, maxLength: 4000 }),
    fc.integer({ min: 1, max: 700 }),
    async (bytes, size) => {
      const name = nameOf(bytes);
      const store = createArtifactStore({ dir });
      await store.put(name, bytes.length, pieces(bytes, size));
      const again = createArtifactStore({ dir });
      t.deepEqual(new Uint8Array(readFileSync(again.path(name))), bytes);
      const end = bytes.length - 1;
      const start = Math.floor(end / 2);
      const read = await again.open(name, { start, end }).toArray();
      t.deepEqual(new Uint8Array(Buffer.concat(read)), bytes.subarray(start));
    },
  );
  await fc.assert(law, { seed: 5, numRuns: 40 });
});

test("bytes that hash to something else are refused and leave nothing", async (t) => {
  const dir = folder(t);
  const store = createArtifactStore({ dir });
  const bytes = Buffer.from("right");
  const name = nameOf(Buffer.from("wrong"));
  const fault = await t.throwsAsync(store.put(name, 5, pieces(bytes, 2)));
  t.like(fault, { name: "Fault", code: "invalid-argument" });
  t.false(store.has(name));
  t.deepEqual(readdirSync(join(dir, "partial")), []);
  await store.put(nameOf(bytes), 5, pieces(bytes, 2));
  t.true(await store.verify(nameOf(bytes)));
});

test("a body longer than announced is cut off", async (t) => {
  const store = createArtifactStore({ dir: folder(t) });
  const bytes = Buffer.alloc(100, 1);
  const fault = await t.throwsAsync(store.put(nameOf(bytes), 60, pieces(bytes, 50)));
  t.like(fault, { code: "payload-too-large" });
});

test("an unfinished write is resumed where it stopped, by another process too", async (t) => {
  const dir = folder(t);
  const bytes = Buffer.from("0123456789");
  const first = await createArtifactStore({ dir }).write(nameOf(bytes), 10);
  await first.write(bytes.subarray(0, 4));
  await first.close();
  const store = createArtifactStore({ dir });
  const second = await store.write(nameOf(bytes), 10);
  t.is(second.offset, 4);
  t.like(await t.throwsAsync(store.write(nameOf(bytes), 10)), { code: "conflict" });
  await second.write(bytes.subarray(4));
  await second.commit();
  t.deepEqual(readFileSync(store.path(nameOf(bytes))), bytes);
});

test("a truncated file counts as absent, at the start and later", async (t) => {
  const dir = folder(t);
  const store = createArtifactStore({ dir });
  const names: Sha256[] = [];
  for (const text of ["first", "second"]) {
    const bytes = Buffer.from(text);
    names.push(nameOf(bytes));
    await store.put(nameOf(bytes), bytes.length, pieces(bytes, 3));
  }
  truncateSync(store.path(names[0]!), 2);
  t.false(store.has(names[0]!));
  t.like(
    t.throws(() => store.path(names[0]!)),
    { code: "not-found" },
  );
  truncateSync(store.path(names[1]!), 2);
  t.false(createArtifactStore({ dir }).has(names[1]!));
});

test("verify finds a flipped byte and drops the file", async (t) => {
  const store = createArtifactStore({ dir: folder(t) });
  const bytes = Buffer.from("payload");
  await store.put(nameOf(bytes), 0, pieces(bytes, 7));
  writeFileSync(store.path(nameOf(bytes)), "paylosd");
  t.true(store.has(nameOf(bytes)));
  t.false(await store.verify(nameOf(bytes)));
  t.false(store.has(nameOf(bytes)));
});

test("the bound holds: the least recently used goes, the pinned stays", async (t) => {
  const store = createArtifactStore({ dir: folder(t), maxBytes: 250 });
  const files = [1, 2, 3, 4].map((value) => Buffer.alloc(100, value));
  const names = files.map(nameOf);
  const put = (i: number) => store.put(names[i]!, 100, pieces(files[i]!, 64));
  await put(0);
  await put(1);
  const release = store.pin(names[0]!);
  await put(2);
  t.deepEqual(
    names.map((name) => store.has(name)),
    [true, false, true, false],
  );
  store.pin(names[2]!);
  t.like(await t.throwsAsync(put(3)), { code: "payload-too-large" });
  release();
  await put(3);
  t.deepEqual(
    names.map((name) => store.has(name)),
    [false, false, true, true],
  );
  t.true(store.bytes <= 250);
});
