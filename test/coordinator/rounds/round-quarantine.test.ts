// What was kept out of a round is gathered from the regions, and a region that can't be asked is
// named instead of passed over.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import { Hono } from "hono";
import { quarantineRoutes } from "../../../coordinator/api/quarantine-routes.ts";
import { quarantineText } from "../../../coordinator/cli/round-quarantine.ts";
import type { CampaignState, RoundState } from "../../../coordinator/rounds/campaign-state.ts";
import type { RoundQuarantine } from "../../../coordinator/rounds/round-quarantine.ts";
import { RegionSummarySchema } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { startHttpServer } from "../../../runtime/http/server.ts";
import { silentLog } from "../../../runtime/log.ts";

const kept = {
  campaign: "c-1",
  round: 3,
  edge: "eu-2",
  reason: "finite",
  detail: "tensor x holds a number that isn't finite",
  kept: true,
  sha256: "a".repeat(64),
  bytes: 2048,
  codec: "int8",
  examples: 10,
  norm: 1.25,
};

test("deltas of all regions are listed with theirs, silent regions with the reason", async (t) => {
  const log = silentLog();
  const listing = new Hono().get("/v1/rounds/c-1/3/quarantine", (c) => c.json({ deltas: [kept] }));
  const broken = new Hono().get("/v1/rounds/c-1/3/quarantine", (c) => c.json({ deltas: "none" }));
  const apps = { eu: listing, us: new Hono(), asia: broken };
  const servers = await Promise.all(
    Object.entries(apps).map(async ([region, app]) => {
      const server = await startHttpServer({ host: "127.0.0.1", port: 0, app, log });
      return { region, server };
    }),
  );
  try {
    const views = servers.map(({ region, server }) => {
      const summary = create(RegionSummarySchema, {
        region,
        http: `http://127.0.0.1:${server.port}`,
      });
      return { summary, heardMs: 0, reachable: true };
    });
    const regions = ["us", "eu", "mars", "asia"].map((region) => ({ region }));
    const campaigns = {
      get: (id: string) => ({ id }) as CampaignState,
      round: (_: string, number: number) => ({ number, regions }) as unknown as RoundState,
    };
    const routes = quarantineRoutes(campaigns, { regions: () => views });
    const response = await routes.request("/v1/rounds/c-1/3/quarantine");
    const found = (await response.json()) as RoundQuarantine;
    const { campaign: _c, round: _r, ...delta } = kept;
    t.deepEqual(found.deltas, [{ region: "eu", ...delta }]);
    t.deepEqual(
      found.silent.map(({ region }) => region),
      ["asia", "mars"],
    );
    const text = quarantineText(found);
    t.regex(text, /eu +eu-2 +finite +int8 .* yes +tensor x holds/);
    t.regex(text, /mars could not be asked: its address isn't known/);
    t.is(quarantineText({ deltas: [], silent: [] }), "no delta was kept out");
  } finally {
    await Promise.all(servers.map(({ server }) => server.stop()));
  }
});
