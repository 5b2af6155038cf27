// What the coordinator knows of the regions and their edges: the last summary of each, and how old
// it is. Serving never depends on it.
import { fromBinary } from "@bufbuild/protobuf";
import {
  type EdgeSummary,
  ModelStatus,
  type RegionSummary,
  RegionSummarySchema,
} from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import { subjects } from "../../proto/subjects.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { NatsLink } from "../../runtime/nats/connection.ts";

/** A region that has said nothing for so long is taken to be out of reach. */
export const REGION_SILENT_MS = 5_000;
/** Regions remembered; a name beyond these is ignored. */
const REGIONS_MAX = 1_000;

export interface RegionView {
  readonly summary: RegionSummary;
  readonly heardMs: number;
  readonly reachable: boolean;
}

export interface EdgeView {
  readonly region: string;
  readonly edge: EdgeSummary;
  /** Its region is heard, and counts it among the living. */
  readonly alive: boolean;
}

export class Fleet {
  readonly #clock: Clock;
  readonly #heard = new Map<
    string,
    { summary: RegionSummary; monotonicMs: number; atMs: number }
  >();
  readonly #listeners = new Set<() => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Listens to the regions until the result is called. */
  listen(nats: NatsLink): () => void {
    const subscription = nats.subscribe(subjects.summaries, ({ body }) => {
      this.hear(fromBinary(RegionSummarySchema, body));
    });
    return () => subscription.stop();
  }

  /** Takes a summary, unless a newer one is known. */
  hear(summary: RegionSummary): void {
    const known = this.#heard.get(summary.region);
    if (known === undefined && this.#heard.size >= REGIONS_MAX) return;
    if (known !== undefined && isOlder(summary, known.summary)) return;
    const monotonicMs = this.#clock.monotonicMs();
    this.#heard.set(summary.region, { summary, monotonicMs, atMs: this.#clock.now() });
    for (const listener of this.#listeners) listener();
  }

  /** Calls on everything heard. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  regions(): readonly RegionView[] {
    const nowMs = this.#clock.monotonicMs();
    return [...this.#heard.values()]
      .map(({ summary, monotonicMs, atMs }) => {
        return { summary, heardMs: atMs, reachable: nowMs - monotonicMs < REGION_SILENT_MS };
      })
      .sort((a, b) => (a.summary.region < b.summary.region ? -1 : 1));
  }

  /** By region, then by name. */
  edges(): readonly EdgeView[] {
    return this.regions().flatMap(({ summary, reachable }) =>
      [...summary.edges]
        .sort((a, b) => (a.edge < b.edge ? -1 : 1))
        .map((edge) => ({
          region: summary.region,
          edge,
          alive: reachable && (edge.status === "ready" || edge.status === "suspect"),
        })),
    );
  }

  /** Edges that can evaluate or serve the model now. */
  readyEdges(model: string): readonly EdgeView[] {
    return this.edges().filter(({ alive, edge }) => {
      return alive && edge.models.some((state) => isReady(state.status) && state.model === model);
    });
  }
}

export function isReady(status: ModelStatus): boolean {
  return status === ModelStatus.READY;
}

function isOlder(a: RegionSummary, b: RegionSummary): boolean {
  if (a.incarnation !== b.incarnation) return a.incarnation < b.incarnation;
  return a.sequence < b.sequence;
}
