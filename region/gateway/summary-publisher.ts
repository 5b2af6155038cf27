// Tells the other regions and the coordinator how this region is: each second, and soon after an
// edge comes, goes or changes its status.
import { toBinary } from "@bufbuild/protobuf";
import { type RegionSummary, RegionSummarySchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { RegionId } from "../../proto/ids.ts";
import { subjects } from "../../proto/subjects.ts";
import type { Clock, Timer } from "../../runtime/clock.ts";
import type { NatsLink } from "../../runtime/nats/connection.ts";
import type { EdgeRegistry } from "../membership/edge-registry.ts";

const PERIOD_MS = 1000;
/** Several changes at once are told together. */
const SETTLE_MS = 50;

export interface SummaryPublisherOptions {
  readonly region: RegionId;
  readonly nats: Pick<NatsLink, "publish">;
  readonly clock: Clock;
  readonly edges: EdgeRegistry;
  readonly summary: () => RegionSummary;
  /** Whether it is for this process to speak for the region; always when left out. */
  readonly speaks?: () => boolean;
}

/** Publishes until the returned function is called. */
export function publishSummaries(options: SummaryPublisherOptions): () => void {
  const { region, nats, clock, edges, summary, speaks } = options;
  let soon: Timer | null = null;
  const publish = () => {
    soon?.cancel();
    soon = null;
    if (speaks?.() === false) return;
    nats.publish(subjects.summary(region), toBinary(RegionSummarySchema, summary()));
  };
  edges.onChange(() => {
    soon ??= clock.after(SETTLE_MS, publish);
  });
  const timer = clock.every(PERIOD_MS, publish);
  return () => {
    timer.cancel();
    soon?.cancel();
  };
}
