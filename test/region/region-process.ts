// Runs region/main.ts as its own process, from a configuration written for it.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { ExecutionContext } from "ava";

const MAIN = new URL("../../region/main.ts", import.meta.url).pathname;

export interface RegionProcess {
  readonly http: string;
  readonly grpc: string;
  readonly child: ChildProcess;
  /** Sends a signal and returns once the process has gone; resolves with its exit code. */
  end(signal: NodeJS.Signals): Promise<number | null>;
}

/** A folder of its own that goes with the test. */
export async function regionDir(t: ExecutionContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "isthmus-region-"));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** Starts it and waits for the ready line. It ends with the test, however that ends. */
export async function startRegion(
  t: ExecutionContext,
  config: { readonly name: string; readonly dir: string } & Record<string, unknown>,
): Promise<RegionProcess> {
  // Those of a pair have the same folder.
  const file = join(config.dir, `config-${config.instance ?? "alone"}.json`);
  await writeFile(file, JSON.stringify(config));
  const child = spawn(process.execPath, [MAIN, "--config", file, "--watch-parent"], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, ISTHMUS_LOG: process.env.REGION_LOG ?? "error" },
  });
  const exited = once(child, "exit") as Promise<[number | null]>;
  t.teardown(() => child.kill("SIGKILL"));
  const lines = createInterface({ input: child.stdout });
  const first = await Promise.race([once(lines, "line"), exited.then(() => null)]);
  if (first === null) throw new Error("the region ended before it was ready");
  const { http, grpc } = JSON.parse(String(first[0])) as { http: string; grpc: string };
  return {
    http,
    grpc,
    child,
    async end(signal) {
      child.kill(signal);
      const [code] = await exited;
      return code;
    },
  };
}
