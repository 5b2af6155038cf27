// The two measuring commands, in their smallest form, as somebody would call them.
import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";
import test from "ava";
import { temporaryFolder } from "../../edge-node/training/tiny-model.ts";

const EVALUATE = path.join(import.meta.dirname, "../../../deploy/demo-model/evaluate.ts");
const ROUNDS = path.join(import.meta.dirname, "../../../deploy/demo-model/simulate-rounds.ts");
const run = promisify(execFile);

test("evaluate prints a line of shares for each file", async (t) => {
  const counts = ["--files", "q8_0", "--home", "4", "--dialects", "2"];
  const { stdout } = await run(process.execPath, [EVALUATE, ...counts]);
  t.regex(stdout, /^q8_0 +home [01]\.\d{3} {2}media 0\.000 {2}appliance 0\.000 {2}garden 0\.000$/m);
});

test("simulate-rounds trains every edge and measures the served result", async (t) => {
  const sizes = ["--rounds", "1", "--edges", "1", "--steps", "1", "--evaluate", "1"];
  const data = ["--examples", "4", "--replay", "4", "--batch", "2", "--folder", temporaryFolder()];
  const { stdout } = await run(process.execPath, [ROUNDS, ...sizes, ...data]);
  t.regex(stdout, /^base +home [01]\.000 {2}media 0\.000/m);
  t.regex(stdout, /^round +1 +home [01]\.000 .* local losses( \d+\.\d\d){3} /m);
});
