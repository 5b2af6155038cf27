// The bound on what a process's logs take on disk.
import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { LogFile } from "../../../deploy/local/log-file.ts";

test("a log keeps its end, one older file, and never more than twice its bound", async (t) => {
  const dir = await mkdtemp(join(tmpdir(), "isthmus-log-"));
  const path = join(dir, "role.log");
  const log = new LogFile(path, 100);
  for (let line = 0; line < 50; line++) log.write(Buffer.from(`line ${line}\n`));
  log.close();
  t.deepEqual(await readdir(dir), ["role.log", "role.log.1"]);
  t.true((await stat(path)).size <= 100);
  t.true((await stat(`${path}.1`)).size <= 100);
  t.true((await readFile(path, "utf8")).endsWith("line 49\n"));
  await rm(dir, { recursive: true });
});

test("a log opened again goes on where it was, within the same bound", async (t) => {
  const dir = await mkdtemp(join(tmpdir(), "isthmus-log-"));
  const path = join(dir, "role.log");
  for (const text of ["one\n", "two\n"]) {
    const log = new LogFile(path, 7);
    log.write(Buffer.from(text));
    log.close();
  }
  t.is(await readFile(path, "utf8"), "two\n");
  t.is(await readFile(`${path}.1`, "utf8"), "one\n");
  await rm(dir, { recursive: true });
});
