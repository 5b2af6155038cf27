// A client's picture of the mesh: asks the seeds, measures the nearest endpoints again and again,
// learns from the nearest that answers, and keeps the channels to them.
import { asFault, Fault } from "../proto/fault.ts";
import type { Clock, Timer } from "../runtime/clock.ts";
import {
  type Directory,
  emptyDirectory,
  failed,
  type KnownEndpoint,
  learn,
  measured,
} from "./directory.ts";
import { type EndpointLink, openLink } from "./endpoint-link.ts";

const CONNECT_TIMEOUT_MS = 5000;
const PROBE_TIMEOUT_MS = 1500;
export const PROBE_EVERY_MS = 2000;
/** Endpoints probed in one turn: the nearest ones, which are the ones that matter. */
const PROBED_MAX = 16;

export interface MeshPictureOptions {
  readonly seeds: readonly string[];
  readonly clock: Clock;
  readonly probeEveryMs: number;
  /** 0 to 1; of several edges that are as good, clients with other salts prefer others. */
  readonly salt: number;
}

export class MeshPicture {
  readonly #options: MeshPictureOptions;
  readonly #links = new Map<string, EndpointLink>();
  #directory: Directory;
  #timer: Timer | null = null;
  #probing = false;
  #closed = false;

  constructor(options: MeshPictureOptions) {
    this.#options = options;
    this.#directory = emptyDirectory(options.salt);
  }

  get directory(): Directory {
    return this.#directory;
  }

  /** Faults: unavailable when no seed answers. */
  async start(): Promise<void> {
    const { seeds, clock, probeEveryMs } = this.#options;
    const answers = await this.#askSeeds();
    if (!answers.some((answer) => answer.status === "fulfilled")) {
      const why = answers.map((a) => (a.status === "rejected" ? asFault(a.reason).message : ""));
      const message =
        `None of the seeds answered (${seeds.join(", ")}). Check that the mesh runs and ` +
        "that these are gRPC addresses (host:port) of its edges or gateways.";
      throw new Fault("unavailable", message, { cause: new Error(why.join("; ")) });
    }
    await this.#probe();
    this.#timer = clock.every(probeEveryMs, () => void this.#probe());
  }

  link(address: string): EndpointLink {
    let link = this.#links.get(address);
    if (link === undefined) {
      link = openLink(address, this.#options.clock);
      this.#links.set(address, link);
    }
    return link;
  }

  /** A stream or a call failed there; what else is lost is found out at once. */
  failed(key: string): void {
    this.#directory = failed(this.#directory, key);
    void this.#probe();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
  }

  #askSeeds(): Promise<PromiseSettledResult<void>[]> {
    const asked = this.#options.seeds.map(async (seed) => {
      const { topology } = await this.link(seed).probe(CONNECT_TIMEOUT_MS);
      this.#directory = learn(this.#directory, topology);
    });
    return Promise.allSettled(asked);
  }

  async #probe(): Promise<void> {
    if (this.#probing || this.#closed) return;
    this.#probing = true;
    const probes = nearestOf([...this.#directory.endpoints.values()]).map(
      async ({ key, address }) => {
        try {
          const probe = await this.link(address).probe(PROBE_TIMEOUT_MS);
          this.#directory = measured(this.#directory, key, probe.rttMs);
          return probe;
        } catch (thrown) {
          this.#directory = failed(this.#directory, key);
          throw thrown;
        }
      },
    );
    const answers = await Promise.allSettled(probes);
    const nearest = answers
      .flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : []))
      .sort((a, b) => a.rttMs - b.rttMs)[0];
    if (!this.#closed) {
      if (nearest !== undefined) this.#directory = learn(this.#directory, nearest.topology);
      else await this.#askSeeds();
      this.#closeUnused();
    }
    this.#probing = false;
  }

  #closeUnused(): void {
    const used = new Set([...this.#directory.endpoints.values()].map(({ address }) => address));
    for (const [address, link] of this.#links) {
      if (used.has(address) || this.#options.seeds.includes(address)) continue;
      link.close();
      this.#links.delete(address);
    }
  }
}

/** The nearest endpoints; those not measured yet come first, so that each gets its turn. */
function nearestOf(endpoints: readonly KnownEndpoint[]): KnownEndpoint[] {
  const urgency = ({ rttMs }: KnownEndpoint) => (Number.isFinite(rttMs) ? rttMs : -1);
  return endpoints.toSorted((a, b) => urgency(a) - urgency(b)).slice(0, PROBED_MAX);
}
