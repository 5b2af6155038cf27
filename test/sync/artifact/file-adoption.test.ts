// Files made here move into a store under the hash of their bytes.
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { createArtifactStore } from "../../../sync/artifact/artifact-store.ts";
import { adoptFile } from "../../../sync/artifact/file-adoption.ts";

test("a file moves into the store; the same one again is dropped", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "isthmus-adoption-"));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const store = createArtifactStore({ dir: join(dir, "store") });
  const bytes = Buffer.alloc(3_000_000, "sum");
  const path = join(dir, "made-here");
  for (const _ of [1, 2]) {
    writeFileSync(path, bytes);
    const { sha256, bytes: size } = await adoptFile(store, path);
    t.is(sha256, createHash("sha256").update(bytes).digest("hex") as typeof sha256);
    t.deepEqual([size, store.bytes], [bytes.length, bytes.length]);
    t.true((await readFile(store.path(sha256))).equals(bytes));
    t.false(existsSync(path));
  }
});
