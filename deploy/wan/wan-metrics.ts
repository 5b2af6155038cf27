// What the emulated network tells Prometheus.
import type { Clock } from "../../runtime/clock.ts";
import type { Metrics } from "../../runtime/metrics.ts";
import type { HeldBytes } from "./pipe.ts";
import type { Relay } from "./relay.ts";
import type { WanLinks } from "./wan-links.ts";

/** How old a figure may be. */
const READ_MS = 1_000;

export interface WanMetricsOptions {
  readonly metrics: Metrics;
  readonly links: WanLinks;
  readonly relay: Relay;
  readonly held: HeldBytes;
  readonly clock: Clock;
}

/** Keeps the figures fresh until the result is called. */
export function registerMetrics(options: WanMetricsOptions): () => void {
  const { metrics, links, relay, held, clock } = options;
  const gauge = (name: string, help: string) => metrics.gauge({ name, help, labels: ["link"] });
  const counter = (name: string, help: string) => metrics.counter({ name, help, labels: ["link"] });
  const cut = gauge("isthmus_wan_cut", "1 while a link is cut.");
  const rtt = gauge("isthmus_wan_rtt_seconds", "Least round trip of a link.");
  const connections = gauge("isthmus_wan_connections", "Connections open on a link.");
  const bytes = counter("isthmus_wan_bytes_total", "Bytes that a link delivered, both ways.");
  const stalls = counter("isthmus_wan_stalls_total", "Pieces that a link had to send again.");
  const underWay = metrics.gauge({
    name: "isthmus_wan_held_bytes",
    help: "Bytes under way on all links.",
  });
  const refused = metrics.counter({
    name: "isthmus_wan_refused_connections_total",
    help: "Connections that no link could carry.",
  });
  const read = () => {
    for (const whole of [bytes, stalls, refused]) whole.reset(); // the links count themselves
    for (const { view } of links.all) {
      const link = view.between.join("/");
      cut.set({ link }, Number(view.cut));
      rtt.set({ link }, view.rttMs / 1000);
      connections.set({ link }, view.connections);
      bytes.inc({ link }, view.bytes);
      stalls.inc({ link }, view.stalls);
    }
    underWay.set(held.bytes);
    refused.inc(relay.refused);
  };
  read();
  const timer = clock.every(READ_MS, read);
  return () => timer.cancel();
}
