// The compiled kernel is what its source says.
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import test from "ava";
import { temporaryFolder } from "./delta-folder.ts";

const root = resolve(import.meta.dirname, "../../..");
const source = "sync/kernel/assembly/sum-kernel.ts";
const compiled = "sync/kernel/sum-kernel.wasm";

test("`npm run kernels` gives the committed bytes again", async (t) => {
  const { scripts } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as {
    scripts: Record<string, string>;
  };
  const [command, ...words] = scripts.kernels!.split(" ");
  t.deepEqual([command, words.includes(source), words.includes(compiled)], ["asc", true, true]);
  const rebuilt = join(await temporaryFolder(t), "sum-kernel.wasm");
  const asc = join(root, "node_modules/assemblyscript/bin/asc.js");
  const args = words.map((word) => (word === compiled ? rebuilt : word));
  await promisify(execFile)(process.execPath, [asc, ...args], { cwd: root });
  t.true((await readFile(rebuilt)).equals(await readFile(join(root, compiled))));
});
