// A whole simulated mesh: regions with their edges, callers beside each region, and every path
// between them. Tells the trunks when something on their way changed.

import { HEARTBEAT_PERIOD_MS } from "../../../edge-node/heartbeat/heartbeat-pace.ts";
import type { Heartbeat, RegionModel } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { Auditor } from "../audit/auditor.ts";
import type { EventQueue } from "../kernel/event-queue.ts";
import type { RandomStreams } from "../kernel/random-streams.ts";
import type { TraceHash } from "../kernel/trace-hash.ts";
import { createRouter, type PolicyName } from "../policies/policies.ts";
import type { SimRequest } from "../workload/sim-request.ts";
import { BeatChannel } from "./beat-channel.ts";
import { CallerSite, type CallRecord } from "./caller-site.ts";
import type { EngineProfile } from "./engine-profile.ts";
import { Geography } from "./geography.ts";
import { HeartBank } from "./heart-bank.ts";
import type { PeerLink } from "./peer-book.ts";
import type { Sabotage } from "./sabotage.ts";
import { SimEdge } from "./sim-edge.ts";
import { Direction, SimPath } from "./sim-path.ts";
import { SimProcess } from "./sim-process.ts";
import { SimRegion } from "./sim-region.ts";
import type { ServedCall } from "./sim-service.ts";
import { SimTrunk } from "./sim-trunk.ts";

export interface RegionPlan {
  readonly name: string;
  readonly jurisdictions: readonly string[];
  readonly gramsCo2PerKwh: number;
  readonly edges: readonly EngineProfile[];
}

export interface MeshPlan {
  readonly regions: readonly RegionPlan[];
  readonly model: string;
  readonly policy: PolicyName;
  /** Share of edges from before the heartbeat had its newer fields. */
  readonly oldShare: number;
  readonly lossShare: number;
  readonly stride: number;
  readonly prefixBlocksMax: number;
  readonly sabotage: Sabotage;
}

export interface MeshOptions {
  readonly plan: MeshPlan;
  readonly queue: EventQueue;
  readonly streams: RandomStreams;
  readonly trace: TraceHash;
  readonly onEnd: (record: CallRecord) => void;
}

const SUMMARY_DELAY_MS = 2;
/** What a request that is served in another region sends there, and gets back. */
const BYTES_PER_PROMPT_TOKEN = 4;
const BYTES_PER_TOKEN = 12;

export class SimMesh {
  readonly edges: SimEdge[] = [];
  readonly regions: SimRegion[] = [];
  readonly sites: CallerSite[] = [];
  readonly auditor: Auditor;
  readonly bank: HeartBank;
  readonly beats: BeatChannel;
  /** Which region each edge is in. */
  readonly regionOf: number[] = [];
  readonly moves = new Map<string, number>();
  spills = 0;
  crossBytes = 0;
  readonly #options: MeshOptions;
  readonly #geography: Geography;
  readonly #edgePaths: SimPath[] = [];
  readonly #peerPaths: SimPath[][] = [];
  readonly #callerPaths: SimPath[][] = [];
  readonly #requests = new Map<number, SimRequest>();
  readonly #processes: SimProcess[] = [];

  constructor(options: MeshOptions) {
    this.#options = options;
    const { plan, queue, streams } = options;
    const labels = new Map(plan.regions.map((region) => [region.name, region.jurisdictions]));
    this.auditor = new Auditor(
      () => queue.nowMs,
      (region) => labels.get(region) ?? [],
    );
    this.#geography = new Geography(plan.regions.length, streams.of("geography"));
    const count = plan.regions.reduce((sum, region) => sum + region.edges.length, 0);
    const publish = (edge: number, beat: Heartbeat) => this.beats.publish(edge, beat);
    this.bank = new HeartBank(queue, count, publish);
    this.beats = new BeatChannel(queue, streams.of("beats"), this);
    this.#layEdges();
    this.#layPaths();
    for (const { name } of plan.regions) {
      this.#processes.push(new SimProcess(queue, name, streams.of(`clock ${name}`)() * 1e7));
    }
    for (const [at] of plan.regions.entries()) this.#openRegion(at);
    for (const [at] of plan.regions.entries()) this.#openSite(at);
    // One after another, as they lie in memory: twelve million beats are mostly waits for memory.
    const stepMs = HEARTBEAT_PERIOD_MS / this.edges.length;
    for (const [at, { heart }] of this.edges.entries()) {
      this.bank.phaseMs[at] = at * stepMs;
      heart.start(at * stepMs);
    }
  }

  issue(request: SimRequest): void {
    this.#requests.set(request.id, request);
    this.sites[request.site]!.issue(request);
  }

  edgePath(edge: number): SimPath {
    return this.#edgePaths[edge]!;
  }

  /** Every path between two regions, in both roles, each with the direction from left to right. */
  pathsBetween(left: number, right: number): { path: SimPath; direction: Direction }[] {
    const { forth, back } = Direction;
    return [
      { path: this.#peerPaths[left]![right]!, direction: forth },
      { path: this.#peerPaths[right]![left]!, direction: back },
      { path: this.#callerPaths[left]![right]!, direction: forth },
      { path: this.#callerPaths[right]![left]!, direction: back },
    ];
  }

  /** A path of this edge, or how it is itself, has changed. */
  checkEdge(edge: number): void {
    const { name } = this.edges[edge]!.options;
    this.regions[this.regionOf[edge]!]!.trunkOf(name)?.check();
  }

  /** A path from or to this region, or how its gateway is, has changed. */
  checkRegion(region: number): void {
    for (const { peerTrunks } of this.regions) for (const trunk of peerTrunks) trunk.check();
    for (const site of this.sites) for (const trunk of site.trunks) trunk.check();
    for (const trunk of this.regions[region]!.trunks) trunk.check();
  }

  #layEdges(): void {
    const { plan, queue, streams } = this.#options;
    const { bank } = this;
    const old = streams.of("versions");
    for (const [region, { name, edges }] of plan.regions.entries()) {
      for (const [at, profile] of edges.entries()) {
        const index = this.edges.length;
        this.regionOf.push(region);
        this.edges.push(
          new SimEdge({
            ...{ queue, index, name: `e${at}`, region: name, model: plan.model, profile, bank },
            ...{ version: `${plan.model}@1`, isOld: old() < plan.oldShare, stride: plan.stride },
            random: streams.of(`edge ${index}`),
            auditor: this.auditor,
            sabotage: plan.sabotage,
            requestOf: (call) => this.#requestOf(call),
            publish: (edge: number, beat: Heartbeat) => this.beats.publish(edge, beat),
          }),
        );
      }
    }
  }

  #layPaths(): void {
    const { plan, queue, streams } = this.#options;
    const { lossShare } = plan;
    for (const [index] of this.edges.entries()) {
      const quality = this.#geography.between(0, 0, lossShare);
      const path = new SimPath(queue, quality, streams.of(`path ${index}`));
      this.#edgePaths.push(path);
      const { process } = this.edges[index]!;
      const look = () => {
        this.bank.odd[index] = process.isRunning && path.isOpen(Direction.back) ? 0 : 1;
      };
      path.onChange = look;
      process.onState = look;
    }
    const among = (kind: string) =>
      plan.regions.map((_, from) =>
        plan.regions.map((_, to) => {
          const quality = this.#geography.between(from, to, lossShare);
          return new SimPath(queue, quality, streams.of(`${kind} ${from} ${to}`));
        }),
      );
    this.#peerPaths.push(...among("peers"));
    this.#callerPaths.push(...among("callers"));
  }

  #openRegion(index: number): void {
    const { plan, queue, streams, trace } = this.#options;
    const { name, jurisdictions, gramsCo2PerKwh } = plan.regions[index]!;
    const random = streams.of(`region ${name}`);
    const process = this.#processes[index]!;
    const traits = { jurisdictions, gramsCo2PerKwh, prefixBlocksMax: plan.prefixBlocksMax };
    this.regions.push(
      new SimRegion({
        ...{ queue, name, model: plan.model, process, jurisdictions, random, trace },
        auditor: this.auditor,
        sabotage: plan.sabotage,
        weighsPeers: plan.policy === "ours",
        createRouter: () => createRouter(plan.policy, name, traits),
        requestOf: (call) => this.#requestOf(call),
        openTrunk: (address) => this.#openEdgeTrunk(index, address),
        openPeers: () => this.#openPeers(index),
        publish: (_, summary) => this.#tell(index, summary),
        bank: this.bank,
        onMove: (_, cause) => this.moves.set(cause, (this.moves.get(cause) ?? 0) + 1),
        onSpill: (_from, _to, request) => this.#spilled(request),
      }),
    );
  }

  #openSite(index: number): void {
    const { plan, queue, streams, trace, onEnd } = this.#options;
    const random = streams.of(`site ${index}`);
    const process = new SimProcess(queue, `site ${index}`, random() * 1e7);
    const gateways = this.#geography.fromNear(index).map((to) => ({
      region: plan.regions[to]!.name,
      trunk: new SimTrunk({
        ...{ queue, client: process, server: this.regions[to]!, random },
        path: this.#callerPaths[index]![to]!,
      }),
    }));
    const { auditor } = this;
    const { tamper } = plan.sabotage;
    this.sites.push(new CallerSite({ queue, process, auditor, trace, gateways, tamper, onEnd }));
  }

  #openEdgeTrunk(region: number, address: string): SimTrunk {
    const { queue, streams } = this.#options;
    const index = Number(address.slice(address.indexOf(":") + 1));
    const client = this.#processes[region]!;
    return new SimTrunk({
      ...{ queue, client, server: this.edges[index]! },
      path: this.#edgePaths[index]!,
      random: streams.of(`trunk ${index} ${queue.nowMs}`),
    });
  }

  #openPeers(index: number): ReadonlyMap<string, PeerLink> {
    const { plan, queue, streams } = this.#options;
    const links = new Map<string, PeerLink>();
    const client = this.#processes[index]!;
    for (const [to, { name, jurisdictions }] of plan.regions.entries()) {
      if (to === index) continue;
      const process = this.#processes[to]!;
      // The regions are made one after another: who serves is looked up when it is needed.
      const server = { process, serve: (call: ServedCall) => this.regions[to]!.serve(call) };
      const random = streams.of(`peer ${index} ${to} ${queue.nowMs}`);
      const path = this.#peerPaths[index]![to]!;
      const trunk = new SimTrunk({ queue, client, server, path, random });
      links.set(name, { jurisdictions, trunk });
    }
    return links;
  }

  #tell(from: number, summary: RegionModel): void {
    const { queue, plan } = this.#options;
    const { name } = plan.regions[from]!;
    for (const [to, region] of this.regions.entries()) {
      const path = this.#peerPaths[from]![to]!;
      if (to === from || !path.isOpen(Direction.forth)) continue;
      queue.after(path.quality.latencyMs + SUMMARY_DELAY_MS, () =>
        region.process.run(() => region.takeSummary(name, summary)),
      );
    }
  }

  #spilled({ promptTokens, outputTokens }: SimRequest): void {
    this.spills += 1;
    this.crossBytes += promptTokens * BYTES_PER_PROMPT_TOKEN + outputTokens * BYTES_PER_TOKEN;
  }

  #requestOf({ request }: Pick<ServedCall, "request">): SimRequest {
    const { prompt } = request;
    return this.#requests.get(prompt.case === "text" ? Number(prompt.value) : -1)!;
  }
}
