// Whether the ports that a mesh wants are free, asked before anything is started.
import { once } from "node:events";
import { createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import type { MeshLayout } from "./layout.ts";
import { MeshRefused } from "./usage-error.ts";

const POLL_MS = 100;

/**
 * Faults: MeshRefused, naming the first taken port and what wants it. Waits up to `patienceMs`
 * first, for the processes of an earlier mesh that are just ending.
 */
export async function requireFreePorts(layout: MeshLayout, patienceMs: number): Promise<void> {
  for (let waitedMs = 0; ; waitedMs += POLL_MS) {
    const taken = await firstTaken(layout);
    if (taken === undefined) return;
    if (waitedMs >= patienceMs) {
      throw new MeshRefused(
        `port ${taken.port} (for ${taken.owner}) is already taken: stop what listens there, ` +
          `or choose other ports by --port-base (now ${layout.shape.portBase})`,
      );
    }
    await delay(POLL_MS);
  }
}

async function firstTaken(layout: MeshLayout) {
  for (const owned of layout.ports) {
    if (!(await isFree(owned.port))) return owned;
  }
  return undefined;
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  server.listen(port, "127.0.0.1");
  try {
    await once(server, "listening");
  } catch {
    return false;
  }
  const closed = once(server, "close");
  server.close();
  await closed;
  return true;
}
