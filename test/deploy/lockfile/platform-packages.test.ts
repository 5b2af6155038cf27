// package-lock.json installs on every platform and names no registry.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import test from "ava";
import {
  completeLockfile,
  type Lockfile,
  missingPlatformPackages,
} from "../../../deploy/lockfile/platform-packages.ts";

const path = resolve(import.meta.dirname, "../../../package-lock.json");
const lock = JSON.parse(readFileSync(path, "utf8")) as Lockfile;

test("the lock holds the binaries of every platform (else: npm run lock)", (t) => {
  t.deepEqual([...missingPlatformPackages(lock).keys()], []);
});

test("the lock records no download address", (t) => {
  const addressed = Object.entries(lock.packages).filter(([, { resolved }]) => resolved);
  t.deepEqual(addressed, []);
});

test("a platform that npm left out comes back with its version, system and processor", (t) => {
  const optionalDependencies = { "@x/tool-darwin-arm64": "1.2.3", "@x/tool-linux-x64": "1.2.3" };
  const packages: Lockfile["packages"] = {
    "": {},
    "node_modules/@x/tool": { version: "1.2.3", dev: true, optionalDependencies },
    "node_modules/@x/tool-linux-x64": { version: "1.2.3" },
  };
  const whole = completeLockfile({ packages });
  t.deepEqual(Object.keys(whole.packages), [
    "",
    "node_modules/@x/tool",
    "node_modules/@x/tool-darwin-arm64",
    "node_modules/@x/tool-linux-x64",
  ]);
  const added = { version: "1.2.3", cpu: ["arm64"], dev: true, optional: true, os: ["darwin"] };
  t.deepEqual(whole.packages["node_modules/@x/tool-darwin-arm64"], added);
  t.is(missingPlatformPackages(whole).size, 0);
});
