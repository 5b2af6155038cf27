// Starts real nats-servers for tests: one with JetStream, or a whole mesh's topology.
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ReaperLink } from "../../deploy/local/reaper-link.ts";
import { SupervisedProcess } from "../../deploy/local/supervised-process.ts";
import {
  CENTRAL,
  type NatsServerKind,
  type NatsServerPlan,
  type NatsSite,
  natsServerPlans,
  natsUrls,
} from "../../deploy/nats/config.ts";
import { findNatsServer } from "../../deploy/nats/server-binary.ts";
import { missingLinks } from "../../deploy/nats/topology-health.ts";
import { eventually } from "./eventually.ts";
import { type PortBlock, reservePorts } from "./port-block.ts";

const PORTS_PER_SITE = 6;

export class NatsTopology implements AsyncDisposable {
  readonly dir: string;
  readonly plans: readonly NatsServerPlan[];
  readonly #sites: readonly NatsSite[];
  readonly #binary: string;
  readonly #ports: PortBlock;
  /** Ends the servers even when the test process is killed. */
  readonly #reaper = new ReaperLink();
  readonly #processes = new Map<string, SupervisedProcess>();

  private constructor(dir: string, binary: string, ports: PortBlock, sites: readonly NatsSite[]) {
    this.dir = dir;
    this.#binary = binary;
    this.#ports = ports;
    this.#sites = sites;
    this.plans = natsServerPlans(sites, join(dir, "store"));
  }

  /** Starts the pairs of these regions and of central; returns once all have found each other. */
  static async start(regions: readonly string[]): Promise<NatsTopology> {
    const dir = await mkdtemp(join(tmpdir(), "isthmus-nats-"));
    const { path } = await findNatsServer({ stateDir: dir });
    const names = [...regions, CENTRAL];
    const ports = await reservePorts(names.length * PORTS_PER_SITE);
    const sites = names.map((region, index) => site(region, ports.base + index * PORTS_PER_SITE));
    const topology = new NatsTopology(dir, path, ports, sites);
    try {
      await mkdir(join(dir, "conf"));
      await Promise.all(topology.plans.map((plan) => topology.#launch(plan)));
      await topology.linked();
      return topology;
    } catch (error) {
      await topology.stop();
      throw error;
    }
  }

  /** Client URLs of a site, the JetStream server first. */
  urls(region: string): string[] {
    const found = this.#sites.find((candidate) => candidate.region === region);
    if (found === undefined) throw new Error(`no site ${region}`);
    return natsUrls(found);
  }

  pid(region: string, kind: NatsServerKind): number {
    return this.#process(region, kind).pid;
  }

  signal(region: string, kind: NatsServerKind, signal: NodeJS.Signals): void {
    this.#process(region, kind).signal(signal);
  }

  /** Kills one server with SIGKILL and returns when it is gone. */
  async kill(region: string, kind: NatsServerKind): Promise<void> {
    const target = this.#process(region, kind);
    target.signal("SIGKILL");
    await target.exited;
  }

  /** Starts a killed server again, on its old ports and data; returns when it is healthy. */
  async restart(region: string, kind: NatsServerKind): Promise<void> {
    await this.#launch(this.#process(region, kind).plan.name);
  }

  /** Returns once every link of the topology is there. */
  async linked(): Promise<void> {
    await eventually("the servers find each other", async () => {
      const missing = await missingLinks(this.plans);
      if (missing.length > 0) throw new Error(missing.join("; "));
      return true;
    });
  }

  /** Stops all servers and removes their data. */
  async stop(): Promise<void> {
    await Promise.all([...this.#processes.values()].map((process) => process.stop()));
    await this.#reaper.close();
    await this.#ports.release();
    await rm(this.dir, { recursive: true, force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  #process(region: string, kind: NatsServerKind): SupervisedProcess {
    const process = this.#processes.get(`nats-${region}-${kind}`);
    if (process === undefined) throw new Error(`no server ${kind} in ${region}`);
    return process;
  }

  async #launch(which: NatsServerPlan | string): Promise<void> {
    const plan = this.plans.find((candidate) => candidate === which || candidate.name === which);
    if (plan === undefined) throw new Error(`no server ${which}`);
    const configPath = join(this.dir, "conf", `${plan.name}.conf`);
    await writeFile(configPath, plan.config);
    const process = new SupervisedProcess(
      {
        name: plan.name,
        command: this.#binary,
        args: ["-c", configPath],
        logPath: join(this.dir, "log", `${plan.name}.log`),
        readiness: { url: `${plan.monitorUrl}/healthz` },
        server: true,
      },
      { reaper: this.#reaper },
    );
    this.#processes.set(plan.name, process);
    await process.ready;
  }
}

/** One pair alone, as the site `central`: a JetStream server and its core. */
export function startNatsServer(): Promise<NatsTopology> {
  return NatsTopology.start([]);
}

function site(region: string, base: number): NatsSite {
  return {
    region,
    ports: {
      coreClient: base,
      coreGateway: base + 1,
      coreLeaf: base + 2,
      coreMonitor: base + 3,
      jetstreamClient: base + 4,
      jetstreamMonitor: base + 5,
    },
  };
}
