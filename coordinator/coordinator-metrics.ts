// What the coordinator tells Prometheus.
import type { Clock } from "../runtime/clock.ts";
import type { Metrics } from "../runtime/metrics.ts";
import type { KvReplica } from "./records/kv-replica.ts";
import type { Fleet } from "./rollout/fleet.ts";
import { isOver } from "./rounds/campaign-state.ts";
import type { Campaigns } from "./rounds/campaigns.ts";

/** How old a gauge may be. */
const READ_MS = 2_000;

export interface CoordinatorMetricsOptions {
  readonly metrics: Metrics;
  readonly fleet: Fleet;
  readonly campaigns: Campaigns;
  readonly replica: KvReplica;
  readonly clock: Clock;
}

/** Keeps the gauges fresh and counts rounds as they end, until the result is called. */
export function registerMetrics(options: CoordinatorMetricsOptions): () => void {
  const { metrics, fleet, campaigns, replica, clock } = options;
  const edges = metrics.gauge({
    name: "isthmus_edges",
    help: "Edges that the regions report, by whether they are alive.",
    labels: ["region", "alive"],
  });
  const lag = metrics.gauge({
    name: "isthmus_records_waiting",
    help: "Records that the JetStream bucket doesn't have yet.",
  });
  const open = metrics.gauge({ name: "isthmus_campaigns_open", help: "Campaigns under way." });
  const rounds = metrics.counter({
    name: "isthmus_rounds_total",
    help: "Rounds that ended, by how.",
    labels: ["outcome"],
  });
  const endedOf = new Map<string, number>();
  campaigns.onState((campaign) => {
    const known = endedOf.get(campaign.id) ?? campaign.past.length - 1;
    for (const { phase } of campaign.past.slice(Math.max(0, known))) rounds.inc({ outcome: phase });
    if (isOver(campaign)) endedOf.delete(campaign.id);
    else endedOf.set(campaign.id, campaign.past.length);
  });
  const read = () => {
    lag.set(replica.lag);
    open.set(campaigns.open().length);
    edges.reset();
    for (const { region, alive } of fleet.edges()) edges.inc({ region, alive: String(alive) });
  };
  const timer = clock.every(READ_MS, read);
  return () => timer.cancel();
}
