// The committed generated code is what the schema generates.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import test from "ava";

const root = resolve(import.meta.dirname, "../..");
const generated = "proto/gen/isthmus/v1";

test("npm run proto would change nothing", (t) => {
  const output = mkdtempSync(join(tmpdir(), "isthmus-proto-"));
  t.teardown(() => rmSync(output, { recursive: true, force: true }));
  execFileSync(join(root, "node_modules/.bin/buf"), ["generate", "--output", output], {
    cwd: root,
    env: { ...process.env, PATH: `${join(root, "node_modules/.bin")}:${process.env.PATH}` },
  });
  const names = readdirSync(join(output, generated)).sort();
  t.deepEqual(names, readdirSync(join(root, generated)).sort());
  for (const name of names) {
    const fresh = readFileSync(join(output, generated, name), "utf8");
    t.is(fresh, readFileSync(join(root, generated, name), "utf8"), `${name}: run npm run proto`);
  }
});

test("the schema follows the style rules", (t) => {
  t.notThrows(() => execFileSync(join(root, "node_modules/.bin/buf"), ["lint"], { cwd: root }));
});
