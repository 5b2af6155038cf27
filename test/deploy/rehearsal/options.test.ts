// How a rehearsal is called, and that it needs nothing installed.
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import test from "ava";
import { faultNames, OptionError, readOptions } from "../../../deploy/rehearsal/options.ts";
import { TooLate, until } from "../../../deploy/rehearsal/until.ts";

const run = promisify(execFile);
const deployDir = resolve(import.meta.dirname, "../../../deploy");

/** Every file that a program loads, by its imports that aren't types alone. */
function loadedBy(path: string, seen = new Map<string, string>()): Map<string, string> {
  if (seen.has(path)) return seen;
  const text = readFileSync(path, "utf8");
  seen.set(path, text);
  for (const [, from = ""] of text.matchAll(/^import (?!type )[^;]*?from "(\.[^"]+)";/gms)) {
    loadedBy(join(dirname(path), from), seen);
  }
  return seen;
}

test("without options everything is rehearsed; faults are taken in the order given", (t) => {
  t.deepEqual(readOptions([]).faults, faultNames);
  t.like(readOptions([]), { keep: false, json: false, build: true });
  t.deepEqual(readOptions(["--faults", "nats, edge"]).faults, ["nats", "edge"]);
  t.like(readOptions(["--keep", "--no-build", "--json"]), { keep: true, json: true, build: false });
});

test("a wrong option is named", (t) => {
  t.regex(t.throws(() => readOptions(["--faults", "flood"])).message, /flood.*edge/);
  t.throws(() => readOptions(["--fautls", "edge"]), { instanceOf: OptionError });
});

test("it loads nothing but Node's own modules and the repository's", (t) => {
  const loaded = loadedBy(join(deployDir, "rehearsal", "main.ts"));
  t.true(loaded.size > 10);
  for (const [path, text] of loaded) {
    for (const [, from = ""] of text.matchAll(/^import (?!type )[^;]*?from "([^"]+)";/gms)) {
      t.regex(from, /^(node:|\.)/, path);
    }
  }
});

test("without an engine it says so and ends with 2", async (t) => {
  const env = { ...process.env, DOCKER_HOST: "unix:///nowhere/docker.sock" };
  const failed = await t.throwsAsync(run(join(deployDir, "rehearse"), [], { env }));
  t.is((failed as unknown as { code: number }).code, 2);
  t.regex((failed as unknown as { stderr: string }).stderr, /no Docker engine answers/);
});

test("waiting ends with what was found, or says what was missing at last", async (t) => {
  let looks = 0;
  const wait = { what: "the third look", withinMs: 5000, everyMs: 1 };
  t.is(await until(wait, () => (++looks < 3 ? "not yet" : looks)), 3);
  const late = await t.throwsAsync(until({ ...wait, withinMs: 5 }, () => "nothing there"));
  t.true(late instanceof TooLate);
  t.regex(late?.message ?? "", /the third look.*nothing there/);
});
