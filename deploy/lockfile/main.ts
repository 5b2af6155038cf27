// `npm run lock`: run it after `npm install` has changed package-lock.json.
import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { completeLockfile, type Lockfile, missingPlatformPackages } from "./platform-packages.ts";

const path = resolve(import.meta.dirname, "../../package-lock.json");
const lock = JSON.parse(readFileSync(path, "utf8")) as Lockfile;
const missing = missingPlatformPackages(lock);
if (missing.size > 0) writeFileSync(path, `${JSON.stringify(completeLockfile(lock), null, 2)}\n`);
process.stdout.write(`added ${missing.size} packages of other platforms\n`);
