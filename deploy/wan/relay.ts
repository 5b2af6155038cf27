// The ports of the emulated network: each leads to one target, over the link between its site and
// that of whoever calls.
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import type { Log } from "../../runtime/log.ts";
import type { RouteConfig } from "./config.ts";
import type { SiteFinder } from "./site-finder.ts";
import type { WanLinks } from "./wan-links.ts";

/** Connections through all ports at once; more are reset at the door. */
export const CONNECTIONS_MAX = 4096;
const BACKLOG_MAX = 1024;

export interface RelayParts {
  readonly links: WanLinks;
  readonly siteOf: SiteFinder;
  readonly log: Log;
}

export class Relay {
  readonly #parts: RelayParts;
  readonly #servers: Server[] = [];
  #connections = 0;
  #refused = 0;

  private constructor(parts: RelayParts) {
    this.#parts = parts;
  }

  /** Listens at every route's port. Rejects, with nothing left open, when one is taken. */
  static async listen(routes: readonly RouteConfig[], parts: RelayParts): Promise<Relay> {
    const relay = new Relay(parts);
    try {
      for (const route of routes) await relay.#open(route);
      return relay;
    } catch (error) {
      await relay.close();
      throw error;
    }
  }

  /** Where each route listens, in their order: host:port. */
  get addresses(): readonly string[] {
    return this.#servers.map((server) => {
      const address = server.address();
      if (address === null || typeof address === "string") throw new Error("the relay is closed");
      return `${address.address}:${address.port}`;
    });
  }

  /** Connections that were reset at the door. */
  get refused(): number {
    return this.#refused;
  }

  /** Resets every connection and listens no more. */
  async close(): Promise<void> {
    const open = this.#servers.filter((server) => server.listening);
    const closed = open.map((server) => once(server, "close"));
    for (const server of open) server.close();
    this.#parts.links.close();
    await Promise.all(closed);
  }

  async #open(route: RouteConfig): Promise<void> {
    const options = { allowHalfOpen: true, pauseOnConnect: true, noDelay: true };
    const server = createServer(options, (near) => this.#accept(near, route));
    const { host, port, target } = route;
    try {
      server.listen({ host, port, backlog: BACKLOG_MAX });
      await once(server, "listening");
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      throw new Error(`the way to ${target} can't listen on ${host}:${port}: ${message}`);
    }
    this.#servers.push(server);
  }

  #accept(near: Socket, { site, from, target }: RouteConfig): void {
    const { links, siteOf, log } = this.#parts;
    const caller = from ?? siteOf(near.localAddress ?? "");
    const isFull = this.#connections >= CONNECTIONS_MAX;
    if (caller === undefined || caller === site || isFull) {
      const at = near.localAddress;
      log.warn({ target, caller, at, isFull }, "a connection that no link can carry");
      this.#refused += 1;
      near.on("error", () => {}); // it is being destroyed
      near.resetAndDestroy();
      return;
    }
    this.#connections += 1;
    links.between(caller, site).carry(near, caller, target, () => {
      this.#connections -= 1;
    });
  }
}
