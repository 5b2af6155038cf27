// The log of records on a real disk.
import {
  appendFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import fc from "fast-check";
import { RecordLog } from "../../../coordinator/records/record-log.ts";
import { RecordStore } from "../../../coordinator/records/record-store.ts";

function logPath(t: ExecutionContext): string {
  const dir = mkdtempSync(join(tmpdir(), "isthmus-records-"));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  return join(dir, "deep", "records.log");
}

test("what was appended is there after a restart, each key at its last revision", (t) => {
  const path = logPath(t);
  const write = fc.tuple(fc.constantFrom("a", "b.c", "d/e"), fc.jsonValue());
  const expected = new Map<string, unknown>();
  const law = fc.property(fc.array(write), (writes) => {
    const store = new RecordStore(path);
    for (const [key, value] of writes) {
      const json = JSON.parse(JSON.stringify(value));
      store.put(key, json, store.get(key)?.revision ?? 0);
      expected.set(key, json);
    }
    store.close();
    const again = new RecordStore(path);
    for (const { key, value } of again.list())
      t.deepEqual(value, expected.get(key) as typeof value);
    t.is(again.list().length, expected.size);
    again.close();
  });
  fc.assert(law, { seed: 2, numRuns: 30 });
});

test("a crash at any byte of the last line loses that line only", (t) => {
  const path = logPath(t);
  const log = new RecordLog(path);
  log.append({ key: "a", revision: 1, value: 1 });
  const before = statSync(path).size;
  log.append({ key: "a", revision: 2, value: 2 });
  log.close();
  const whole = readFileSync(path);
  for (let length = before; length < whole.length; length += 1) {
    writeFileSync(path, whole.subarray(0, length));
    const torn = new RecordLog(path);
    t.is(torn.records.get("a")?.revision, 1, `cut at ${length}`);
    torn.append({ key: "b", revision: 1, value: "after" });
    torn.close();
    const again = new RecordLog(path);
    t.is(again.records.get("b")?.value, "after", `cut at ${length}`);
    again.close();
  }
});

test("damage before the last line is an error that names the file", (t) => {
  const path = logPath(t);
  const log = new RecordLog(path);
  for (const key of ["a", "b", "c"]) log.append({ key, revision: 1, value: key });
  log.close();
  const bytes = readFileSync(path);
  bytes[12]! ^= 1;
  writeFileSync(path, bytes);
  t.throws(() => new RecordLog(path), { message: /records\.log is damaged at byte 0/ });
});

test("garbage after the last line is dropped", (t) => {
  const path = logPath(t);
  const log = new RecordLog(path);
  log.append({ key: "a", revision: 1, value: 1 });
  log.close();
  appendFileSync(path, "\0\0\0\0");
  const again = new RecordLog(path);
  t.is(again.records.size, 1);
  again.close();
});

test("history is dropped, live records stay", (t) => {
  const path = logPath(t);
  const log = new RecordLog(path);
  const value = "x".repeat(100_000);
  for (let revision = 1; revision <= 40; revision += 1) log.append({ key: "a", revision, value });
  t.true(statSync(path).size < 2_000_000);
  log.append({ key: "b", revision: 1, value: 2 });
  log.close();
  const again = new RecordLog(path);
  t.is(again.records.get("a")?.revision, 40);
  t.is(again.records.get("b")?.value, 2);
  again.close();
});

test("a write over a revision that is no longer the last is refused", (t) => {
  const store = new RecordStore(logPath(t));
  t.is(store.put("a", 1, 0).revision, 1);
  t.throws(() => store.put("a", 2, 0), { message: /revision 1, not 0/ });
  t.is(store.put("a", 2, 1).revision, 2);
  t.is(store.get("a")?.value, 2);
});

test("only a newer record is adopted", (t) => {
  const store = new RecordStore(logPath(t));
  store.put("a", "mine", 0);
  t.false(store.adopt({ key: "a", revision: 1, value: "theirs" }));
  t.true(store.adopt({ key: "a", revision: 5, value: "theirs" }));
  t.is(store.put("a", "mine again", 5).revision, 6);
});
