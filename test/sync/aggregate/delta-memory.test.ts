// A process that sums many deltas holds no more than one that sums a few.
import { execFile } from "node:child_process";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import test from "ava";
import { writeDeltas } from "../../bench/aggregate/delta-files.ts";
import type { SumFigures } from "../../bench/aggregate/sum-process.ts";
import { temporaryFolder } from "../kernel/delta-folder.ts";

const PARAMETERS = 8 << 20;
const script = resolve(import.meta.dirname, "../../bench/aggregate/sum-process.ts");

test("64 deltas of 32 MiB are summed in the memory of 8, give or take one of them", async (t) => {
  const dir = await temporaryFolder(t);
  const paths = await writeDeltas(dir, "f32", PARAMETERS, 4);
  const peakOf = async (deltas: number) => {
    const many = Array.from({ length: deltas }, (_, i) => paths[i % paths.length]!);
    const request = JSON.stringify({ paths: many, output: join(dir, "sum") });
    const { stdout } = await promisify(execFile)(process.execPath, [script, request]);
    return (JSON.parse(stdout) as SumFigures).peakBytes;
  };
  const [few, many] = [await peakOf(8), await peakOf(64)];
  t.true(many - few < 4 * PARAMETERS, `${many} bytes at 64, ${few} at 8`);
  t.true(few < 1.3 * 4 * PARAMETERS + 256 * 2 ** 20, `${few} bytes`);
});
