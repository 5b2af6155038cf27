// A process that stands for the wide-area network between the sites of a mesh: what calls another
// site calls here, and is carried over a link with the delay, loss and bandwidth of a far one.
import { Hono } from "hono";
import { readConfig } from "../../runtime/config.ts";
import { startHttpServer } from "../../runtime/http/server.ts";
import { systemRoutes } from "../../runtime/http/system-routes.ts";
import { systemRandom } from "../../runtime/random.ts";
import { type RoleAddresses, type RoleScope, runRole } from "../../runtime/role.ts";
import { type WanConfig, wanConfigSchema } from "./config.ts";
import { linkRoutes } from "./link-routes.ts";
import { HeldBytes } from "./pipe.ts";
import { Relay } from "./relay.ts";
import { siteFinder } from "./site-finder.ts";
import { WanLinks } from "./wan-links.ts";
import { registerMetrics } from "./wan-metrics.ts";

/** Under way on all links together; beyond, senders wait. */
const HELD_BYTES_MAX = 128 << 20;

const config = readConfig(wanConfigSchema);
runRole({ role: "wan", name: "wan", start: (scope) => start(config, scope) });

async function start(config: WanConfig, scope: RoleScope): Promise<RoleAddresses> {
  const { log, metrics, clock } = scope;
  const held = new HeldBytes(HELD_BYTES_MAX);
  const links = new WanLinks(config, { clock, random: systemRandom, held });
  const siteOf = siteFinder(config.sites);
  const relay = await Relay.listen(config.routes, { links, siteOf, log });
  scope.onStop(() => relay.close());
  scope.onStop(registerMetrics({ metrics, links, relay, held, clock }));

  const app = new Hono();
  app.route("/", systemRoutes({ ready: () => null, metrics }));
  app.route(
    "/",
    linkRoutes(links, ({ view }) => log.info(view, "a link was changed")),
  );
  const http = await startHttpServer({ ...config.http, app, log });
  scope.onStop(() => http.stop());
  return { http: `http://${config.http.host}:${http.port}` };
}
