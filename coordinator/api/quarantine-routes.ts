// The operator's route to the deltas that were kept out of a round.
import { Hono } from "hono";
import type { Fleet } from "../rollout/fleet.ts";
import type { Campaigns } from "../rounds/campaigns.ts";
import { gatherQuarantine } from "../rounds/round-quarantine.ts";

export function quarantineRoutes(
  campaigns: Pick<Campaigns, "get" | "round">,
  fleet: Pick<Fleet, "regions">,
): Hono {
  const app = new Hono();
  app.get("/v1/rounds/:campaign/:round/quarantine", async (c) => {
    const { id } = campaigns.get(c.req.param("campaign"));
    const { number, regions } = campaigns.round(id, Number(c.req.param("round")));
    const names = regions.map(({ region }) => region);
    return c.json(await gatherQuarantine({ campaign: id, round: number }, names, fleet));
  });
  return app;
}
