// Consecutive free ports on the loopback address, for topologies whose members must know each
// other's ports beforehand. They lie below the range that the system hands out by itself, and the
// block is held by a listening guard, so that test files running at once never share one.
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server } from "node:net";

const FIRST_PORT = 18_000;
const LAST_PORT = 31_999;
const ATTEMPTS_MAX = 100;

export interface PortBlock extends AsyncDisposable {
  /** The first of the ports. */
  readonly base: number;
  release(): Promise<void>;
}

/** Reserves `count` free ports from `base`. */
export async function reservePorts(count: number): Promise<PortBlock> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    const guardPort = randomInt(FIRST_PORT, LAST_PORT - count);
    const guard = await listen(guardPort);
    if (guard === undefined) continue;
    if (await allFree(guardPort + 1, count)) {
      const release = () => close(guard);
      return { base: guardPort + 1, release, [Symbol.asyncDispose]: release };
    }
    await close(guard);
  }
  throw new Error(`no ${count} consecutive free ports in ${ATTEMPTS_MAX} attempts`);
}

async function allFree(base: number, count: number): Promise<boolean> {
  for (let port = base; port < base + count; port++) {
    const server = await listen(port);
    if (server === undefined) return false;
    await close(server);
  }
  return true;
}

async function listen(port: number): Promise<Server | undefined> {
  const server = createServer((socket) => socket.destroy());
  server.listen(port, "127.0.0.1");
  try {
    await once(server, "listening");
    return server;
  } catch {
    return undefined;
  }
}

async function close(server: Server): Promise<void> {
  const closed = once(server, "close");
  server.close();
  await closed;
}
