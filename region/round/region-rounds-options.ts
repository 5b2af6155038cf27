// What a region's rounds need of the process that runs them.
import type { Artifact } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { RegionId } from "../../proto/ids.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { Metrics } from "../../runtime/metrics.ts";
import type { NatsLink } from "../../runtime/nats/connection.ts";
import type { ArtifactStore } from "../../sync/artifact/artifact-store.ts";
import type { Fence } from "../lease/fence.ts";
import type { RetentionBounds } from "./delta-retention.ts";
import type { RoundMember } from "./round-candidates.ts";

export interface RegionRoundsOptions {
  readonly region: RegionId;
  /** Folder of its own, for logs and deltas. */
  readonly dir: string;
  readonly nats: Pick<NatsLink, "publish" | "request" | "subscribe">;
  readonly members: () => readonly RoundMember[];
  /** What the region serves at /v1/artifacts; partials are put there. */
  readonly store: ArtifactStore;
  /** Makes sure that an artifact is in the region's store; resolves with its path. */
  readonly fetchArtifact: (artifact: Artifact) => Promise<string>;
  /** The region's own http://host:port; empty until it listens. */
  readonly http: () => string;
  /** Where else deltas are taken: the region's other instances. */
  readonly elsewhere?: () => readonly string[];
  /** Nothing is written or acknowledged once it no longer holds. */
  readonly fence?: Fence;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** How long deltas are kept once their rounds are over. */
  readonly kept?: RetentionBounds;
}
