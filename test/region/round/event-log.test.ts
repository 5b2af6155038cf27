// The log gives back what was appended, whole records only, wherever a crash cut it.
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
import test from "ava";
import { EventLog } from "../../../region/round/event-log.ts";

const dir = mkdtempSync(join(tmpdir(), "isthmus-event-log-"));
test.after.always(() => rmSync(dir, { recursive: true }));

async function recordsOf(path: string): Promise<readonly unknown[]> {
  const { log, records } = await EventLog.open(path);
  await log.close();
  return records;
}

test("cut at every byte, the log holds just its whole records, and goes on", async (t) => {
  const path = join(dir, "whole.log");
  const { log } = await EventLog.open(path);
  const ends = [0];
  const records = [{ n: 1 }, { n: 2, text: "über" }, { n: 3 }];
  for (const record of records) {
    await log.append([record]);
    ends.push(statSync(path).size);
  }
  await log.close();
  const bytes = readFileSync(path);
  for (let size = 0; size <= bytes.length; size++) {
    const torn = join(dir, "torn.log");
    writeFileSync(torn, bytes.subarray(0, size));
    const whole = ends.filter((end) => end > 0 && end <= size).length;
    const opened = await EventLog.open(torn);
    t.deepEqual(opened.records, records.slice(0, whole), `${size} bytes`);
    await opened.log.append([{ n: 4 }]);
    await opened.log.close();
    t.deepEqual(await recordsOf(torn), [...records.slice(0, whole), { n: 4 }], `${size} bytes`);
  }
});

test("a flipped byte ends the log before its record", async (t) => {
  const path = join(dir, "flipped.log");
  const { log } = await EventLog.open(path);
  await log.append([{ n: 1 }]);
  const end = statSync(path).size;
  await log.append([{ n: 2 }]);
  await log.close();
  const bytes = readFileSync(path);
  for (let at = end; at < bytes.length; at++) {
    const flipped = Buffer.from(bytes);
    flipped[at]! ^= 0x10;
    writeFileSync(path, flipped);
    t.deepEqual(await recordsOf(path), [{ n: 1 }], `byte ${at}`);
  }
});

test("garbage after the last record is cut off", async (t) => {
  const path = join(dir, "garbage.log");
  const { log } = await EventLog.open(path);
  await log.append([{ n: 1 }, { n: 2 }]);
  await log.close();
  appendFileSync(path, Buffer.alloc(64, 0xff));
  t.deepEqual(await recordsOf(path), [{ n: 1 }, { n: 2 }]);
});
