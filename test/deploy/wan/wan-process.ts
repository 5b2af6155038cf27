// Starts the emulated network as a process of its own, in a folder and on ports of its own.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { ReaperLink } from "../../../deploy/local/reaper-link.ts";
import { SupervisedProcess } from "../../../deploy/local/supervised-process.ts";
import type { LinkChange } from "../../../deploy/wan/wan-link.ts";
import { reservePorts } from "../../support/port-block.ts";

const program = resolve(import.meta.dirname, "../../../deploy/wan/main.ts");

export interface WanProcess extends AsyncDisposable {
  readonly dir: string;
  /** http://host:port of its control API. */
  readonly http: string;
  readonly running: SupervisedProcess;
  /** host:port at which a caller in eu finds a target. */
  at(target: number): string;
}

/** Sites us, eu and ap, a link of that shape between the first two, and all targets in us. */
export async function startWanProcess(
  targets: readonly string[],
  shape: LinkChange,
): Promise<WanProcess> {
  await using opened = new AsyncDisposableStack();
  const dir = await mkdtemp(join(tmpdir(), "isthmus-wan-"));
  opened.defer(() => rm(dir, { recursive: true, force: true }));
  const { base } = opened.use(await reservePorts(targets.length + 1));
  const config = {
    http: { port: base },
    sites: { us: {}, eu: {}, ap: {} },
    links: [{ between: ["us", "eu"], ...shape }],
    routes: targets.map((target, index) => {
      return { port: base + 1 + index, site: "us", from: "eu", target };
    }),
  };
  const path = join(dir, "wan.json");
  await writeFile(path, JSON.stringify(config));
  const reaper = new ReaperLink();
  opened.defer(() => reaper.close());
  const plan = {
    name: "wan",
    command: process.execPath,
    args: [program, "--config", path, "--watch-parent"],
    logPath: join(dir, "wan.log"),
    readiness: "ready-line" as const,
    server: false,
  };
  const running = new SupervisedProcess(plan, { reaper });
  opened.defer(() => running.stop());
  await running.ready;
  const kept = opened.move();
  return {
    dir,
    http: `http://127.0.0.1:${base}`,
    running,
    at: (target) => `127.0.0.1:${base + 1 + target}`,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}
