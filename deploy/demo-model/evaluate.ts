// Prints the exact match of the demo model's files on commands that they weren't trained on:
// node deploy/demo-model/evaluate.ts [--files f16,q8_0,q4_0] [--adapter FILE] [--mistakes 3]

import path from "node:path";
import { parseArgs } from "node:util";
import { makeDialectHeldOut, makeHomeHeldOut } from "./datasets.ts";
import { DIALECT_NAMES } from "./dialect-grammar.ts";
import { exactMatch, openEngineLibrary } from "./served-model.ts";

const { values } = parseArgs({
  options: {
    files: { type: "string", default: "f16,q8_0,q4_0" },
    folder: { type: "string", default: import.meta.dirname },
    adapter: { type: "string", multiple: true, default: [] },
    home: { type: "string", default: "400" },
    dialects: { type: "string", default: "50" },
    mistakes: { type: "string", default: "0" },
  },
});

const dialects = DIALECT_NAMES.map((name) => [
  name,
  makeDialectHeldOut(name, Number(values.dialects)),
]);
const sets = { home: makeHomeHeldOut(Number(values.home)), ...Object.fromEntries(dialects) };
const llama = await openEngineLibrary();
let shown = 0;
for (const name of values.files.split(",")) {
  const modelPath = path.join(values.folder, `commands-${name}.gguf`);
  const shares = await exactMatch(
    llama,
    { modelPath, adapterPaths: values.adapter },
    sets,
    (expected, answer) => {
      if (shown++ < Number(values.mistakes)) console.log({ ...expected, answer });
    },
  );
  const cells = Object.entries(shares).map(([set, share]) => `${set} ${share.toFixed(3)}`);
  console.log(`${name.padEnd(5)} ${cells.join("  ")}`);
}
await llama.dispose();
