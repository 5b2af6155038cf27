// A process that gives feedback without end and says, a line each, what the store has acknowledged;
// for a test that kills it.
import { writeSync } from "node:fs";
import { exampleOf, openStore } from "./store-fixture.ts";

const [dir = "", first = "0"] = process.argv.slice(2);
const { ledger } = openStore(dir, undefined, { entriesMax: 1e6 });
for (let n = Number(first); ; n++) {
  const example = exampleOf(n);
  const { id, model } = example;
  ledger.put({ id, model, version: "m@1", lesson: "correction", rating: 1 }, example);
  writeSync(process.stdout.fd, `${n}\n`);
}
