// The operator's routes for federated rounds, and the stream that follows a campaign.
import { type Context, Hono } from "hono";
import { streamSSE } from "hono/streaming";
import { z } from "zod";
import type { Clock } from "../../runtime/clock.ts";
import { campaignRequestSchema } from "../rounds/campaign-plan.ts";
import { type CampaignState, isOver } from "../rounds/campaign-state.ts";
import type { Campaigns } from "../rounds/campaigns.ts";
import { progressOfCampaign } from "../rounds/round-progress.ts";
import type { Schedules } from "../rounds/schedule/schedules.ts";
import { readBody, readValue } from "./request-body.ts";

const KEEP_ALIVE_MS = 10_000;

export function campaignRoutes(campaigns: Campaigns, schedules: Schedules, clock: Clock): Hono {
  const app = new Hono();
  const view = (campaign: CampaignState) => {
    return { ...campaign, progress: progressOfCampaign(campaign, clock.now()) };
  };
  app.get("/v1/campaigns", (c) => c.json({ campaigns: campaigns.list().map(view) }));
  app.post("/v1/campaigns", async (c) => {
    const body = await readBody(c, z.record(z.string(), z.json()));
    const request = readValue(body, campaignRequestSchema);
    const campaign = campaigns.start(request);
    // Started again and again: the same words, each time without the model's name.
    const { every } = request.pace;
    if (every !== null) schedules.repeat(request.model, every, body);
    return c.json(campaign, 201);
  });
  app.get("/v1/campaigns/:id", (c) => c.json(view(campaigns.get(c.req.param("id")))));
  app.get("/v1/campaigns/:id/rounds/:round", (c) => {
    return c.json(campaigns.round(c.req.param("id"), Number(c.req.param("round"))));
  });
  app.post("/v1/campaigns/:id/stop", async (c) => {
    await readBody(c, z.strictObject({}));
    const { id } = campaigns.get(c.req.param("id"));
    return c.json(campaigns.stopCampaign(id, "stopped by the operator"));
  });
  app.get("/v1/campaigns/:id/events", (c) => follow(c, campaigns, clock, view));
  return app;
}

/**
 * Server-sent events named `campaign`, each the whole state: at once, after every change, and for
 * the last time when the campaign is over. A reader that is slow gets the newest, not a backlog.
 */
function follow(
  c: Context,
  campaigns: Campaigns,
  clock: Clock,
  view: (campaign: CampaignState) => object,
): Response {
  const id = c.req.param("id") ?? "";
  let latest: CampaignState | undefined = campaigns.get(id);
  let wake = Promise.withResolvers<void>();
  const stopListening = campaigns.onState((campaign) => {
    if (campaign.id !== id) return;
    latest = campaign;
    wake.resolve();
  });
  const beat = clock.every(KEEP_ALIVE_MS, () => wake.resolve());
  return streamSSE(c, async (stream) => {
    stream.onAbort(() => wake.resolve());
    try {
      while (!stream.aborted) {
        const campaign = latest;
        latest = undefined;
        if (campaign === undefined) await stream.write(": alive\n\n");
        else await stream.writeSSE({ event: "campaign", data: JSON.stringify(view(campaign)) });
        if (campaign !== undefined && isOver(campaign)) break;
        await wake.promise;
        wake = Promise.withResolvers<void>();
      }
    } finally {
      beat.cancel();
      stopListening();
    }
  });
}
