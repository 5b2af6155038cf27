// A region's rounds as one of its processes runs them: while it has the lease, taken up each time
// from what lies on the disk.
import { join } from "node:path";
import { type Sha256, sha256 } from "../../proto/ids.ts";
import type { NatsLink } from "../../runtime/nats/connection.ts";
import type { RoleScope } from "../../runtime/role.ts";
import type { ArtifactStore } from "../../sync/artifact/artifact-store.ts";
import type { RegionConfig } from "../config.ts";
import { claimFolder } from "../lease/folder-claim.ts";
import type { Pair } from "../lease/pair.ts";
import { SingleDuty } from "../lease/single-duty.ts";
import type { EdgeRegistry } from "../membership/edge-registry.ts";
import { roundMembers } from "../membership/round-members.ts";
import { retentionDefaults } from "./delta-retention.ts";
import { createRegionRounds, type RegionRounds } from "./region-rounds.ts";

const DAY_MS = 86_400_000;

export interface HeldRoundsOptions {
  readonly config: RegionConfig;
  readonly role: Pick<RoleScope, "clock" | "log" | "metrics">;
  readonly nats: NatsLink;
  readonly edges: EdgeRegistry;
  readonly store: ArtifactStore;
  readonly pair: Pair;
  /** Makes sure that an artifact is in the store; resolves with its path. */
  readonly fetchArtifact: (sha256: Sha256, bytes: number) => Promise<string>;
}

export function heldRounds(options: HeldRoundsOptions): SingleDuty<RegionRounds> {
  const { config, role, nats, edges, store, pair } = options;
  const { clock, log } = role;
  const { keepDays, keepBytes } = config.deltas;
  const dir = join(config.dir, "rounds");
  return new SingleDuty({
    acts: () => pair.acts,
    claim: () => claimFolder(join(dir, "claims"), pair.instance),
    start: (fence) =>
      createRegionRounds({
        ...role,
        ...{ region: config.name, dir, nats, store, fence },
        members: () => roundMembers(edges.members()),
        fetchArtifact: (artifact) =>
          options.fetchArtifact(sha256(artifact.sha256), Number(artifact.bytes)),
        http: () => (pair.own.http === "" ? "" : pair.identity.addresses.http),
        elsewhere: () => pair.instances().map(({ http }) => http),
        kept: { ...retentionDefaults, ageMaxMs: keepDays * DAY_MS, bytesMax: keepBytes },
      }),
    clock,
    log,
  });
}
