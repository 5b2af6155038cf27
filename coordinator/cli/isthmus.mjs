#!/usr/bin/env node
// Starts the `isthmus` command: under the Node that the repository brings, whatever Node runs this.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const MAJOR_NEEDED = 24;
const main = new URL("./main.ts", import.meta.url);
const major = Number(process.versions.node.split(".")[0]);

if (major >= MAJOR_NEEDED) {
  await import(main.href);
} else {
  const own = fileURLToPath(new URL("../../node_modules/.bin/node", import.meta.url));
  if (!existsSync(own)) {
    console.error(`isthmus needs Node ${MAJOR_NEEDED}: run \`npm ci\` in the repository first.`);
    process.exit(1);
  }
  const args = [fileURLToPath(main), ...process.argv.slice(2)];
  const { status, signal, error } = spawnSync(own, args, { stdio: "inherit" });
  if (error) console.error(`isthmus: ${error.message}`);
  if (signal) process.kill(process.pid, signal);
  process.exit(status ?? 1);
}
