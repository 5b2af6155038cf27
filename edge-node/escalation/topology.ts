// What this edge tells clients about the mesh: itself, always, and whatever its region last told.
import { clone, create } from "@bufbuild/protobuf";
import {
  Discovery,
  type EdgeAddress,
  type GetTopologyResponse,
  GetTopologyResponseSchema,
  RegionAddressSchema,
} from "../../proto/gen/isthmus/v1/discovery_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import { createClient } from "../../runtime/grpc/bridge.ts";
import { openChannel } from "../../runtime/grpc/channel.ts";
import type { Log } from "../../runtime/log.ts";

const REFRESH_MS = 2000;
const ASK_TIMEOUT_MS = 1000;

/** The region's gateway, as the edge's configuration names it. */
export interface GatewayAddress {
  readonly http: string;
  readonly grpc: string;
}

/** Lays what is known here over what the region told, if it ever told anything. */
export function mergeTopology(
  self: EdgeAddress,
  gateway: GatewayAddress | undefined,
  told: GetTopologyResponse | undefined,
  isReachable: boolean,
): GetTopologyResponse {
  const merged =
    told === undefined ? create(GetTopologyResponseSchema) : clone(GetTopologyResponseSchema, told);
  merged.region = self.region;
  let own = merged.regions.find(({ region }) => region === self.region);
  if (own === undefined) {
    own = create(RegionAddressSchema, { region: self.region, ...gateway });
    merged.regions.push(own);
  }
  own.reachable = isReachable;
  own.edges = [...own.edges.filter(({ edge }) => edge !== self.edge), self];
  return merged;
}

/** What the region told of the legal regimes that hold in it. */
export function jurisdictionsTold(
  told: GetTopologyResponse | undefined,
  region: string,
): readonly string[] {
  return told?.regions.find((each) => each.region === region)?.jurisdictions ?? [];
}

export interface TopologyCacheOptions {
  readonly gateway: GatewayAddress;
  readonly clock: Clock;
  readonly log: Log;
}

/** Asks the region's gateway for its topology now and then. */
export class TopologyCache {
  readonly #options: TopologyCacheOptions;
  readonly #stopping = new AbortController();
  #told: GetTopologyResponse | undefined;
  #isReachable = false;

  constructor(options: TopologyCacheOptions) {
    this.#options = options;
    const { clock, gateway } = options;
    const channel = openChannel(gateway.grpc);
    const client = createClient(Discovery, channel);
    const { signal } = this.#stopping;
    let isAsking = false;
    const ask = async () => {
      if (isAsking) return;
      isAsking = true;
      const deadlineMs = clock.now() + ASK_TIMEOUT_MS;
      await client.getTopology({}, { signal, deadlineMs }).then(
        (told) => this.#heard(told),
        (thrown: unknown) => this.#missed(thrown),
      );
      isAsking = false;
    };
    void ask();
    const timer = clock.every(REFRESH_MS, () => void ask());
    signal.addEventListener("abort", () => {
      timer.cancel();
      channel.close();
    });
  }

  /** The last that was told; undefined before the first time. */
  get told(): GetTopologyResponse | undefined {
    return this.#told;
  }

  /** Whether the region answered last time. */
  get isReachable(): boolean {
    return this.#isReachable;
  }

  stop(): void {
    this.#stopping.abort();
  }

  #heard(told: GetTopologyResponse): void {
    this.#told = told;
    this.#isReachable = true;
  }

  #missed(thrown: unknown): void {
    if (this.#isReachable) this.#options.log.debug({ err: thrown }, "the region doesn't answer");
    this.#isReachable = false;
  }
}
