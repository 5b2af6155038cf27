// How each kind of fault is dealt to a local mesh, and taken back. Signals go only to processes
// that the mesh started, and to the engines below them.
import { readFileSync } from "node:fs";
import { sendSignal } from "../../deploy/local/process-identity.ts";
import { CENTRAL } from "../../deploy/nats/config.ts";
import { ANYBODY } from "../../deploy/nats/wiring.ts";
import type { TestMesh } from "../e2e/test-mesh.ts";
import { childrenOf } from "../support/process-usage.ts";
import type { Victim } from "./fault-record.ts";
import type { FaultKind } from "./fault-schedule.ts";
import type { LinkProxy } from "./link-proxy.ts";
import type { MeshLinks } from "./mesh-links.ts";
import type { Operator } from "./operator.ts";

export interface Scene {
  readonly mesh: TestMesh;
  readonly links: MeshLinks;
  readonly operator: Operator;
}

/** Takes a fault back; returns when every process that it ended runs again. */
export type Heal = () => Promise<void>;
type Deal = (scene: Scene, victim: Victim) => Promise<Heal>;

/** Added to each chunk of a slow link, at least and by chance more. */
const SLOW_MS = 120;
const SLOW_JITTER_MS = 120;
/** Streams of a drained edge may go on for so long before they move. */
const DRAIN_GRACE_MS = 500;

const edgeOf = ({ name }: Victim) => name;

/** Ends processes at once and starts them again in the order given. */
async function killAll({ mesh }: Scene, names: readonly string[]): Promise<Heal> {
  await Promise.all(names.map((name) => mesh.handle.kill(name, "SIGKILL")));
  return async () => {
    for (const group of restartOrder(mesh, names)) {
      await Promise.all(group.map((name) => mesh.handle.restart(name)));
    }
  };
}

/** Servers first, then gateways, then edges, which want both. */
function restartOrder(mesh: TestMesh, names: readonly string[]): string[][] {
  const isGateway = (name: string) => mesh.handle.layout.regions.some((r) => r.name === name);
  const isServer = (name: string) => name.startsWith("nats-");
  return [
    names.filter(isServer),
    names.filter(isGateway),
    names.filter((name) => !isServer(name) && !isGateway(name)),
  ];
}

function holdAll(silenced: readonly LinkProxy[]): Heal {
  for (const link of silenced) link.blackHole();
  return async () => {
    for (const link of silenced) link.pass();
  };
}

/** The process that holds an edge's model. */
function engineOf({ mesh }: Scene, edge: string): number {
  const engine = childrenOf(mesh.handle.process(edge).pid).find((pid) =>
    readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("engine/llama/child.ts"),
  );
  if (engine === undefined) throw new Error(`${edge} has no engine now`);
  return engine;
}

const deals: Record<FaultKind, Deal> = {
  "edge-kill": (scene, victim) => killAll(scene, [edgeOf(victim)]),
  async "edge-freeze"({ mesh }, victim) {
    await mesh.handle.kill(edgeOf(victim), "SIGSTOP");
    return () => mesh.handle.kill(edgeOf(victim), "SIGCONT");
  },
  async "edge-stop"({ mesh }, victim) {
    const stopped = mesh.handle.kill(edgeOf(victim), "SIGTERM");
    return async () => {
      await stopped;
      await mesh.handle.restart(edgeOf(victim));
    };
  },
  async "engine-kill"(scene, victim) {
    sendSignal(engineOf(scene, edgeOf(victim)), "SIGKILL");
    return async () => {}; // its edge starts the next one by itself
  },
  async "engine-freeze"(scene, victim) {
    const pid = engineOf(scene, edgeOf(victim));
    sendSignal(pid, "SIGSTOP");
    return async () => void sendSignal(pid, "SIGCONT"); // nobody there: the edge has replaced it
  },
  async "link-black-hole"({ links }, victim) {
    const link = links.link(victim.watcher, edgeOf(victim));
    link.blackHole();
    return async () => link.pass();
  },
  async "link-one-way"({ links }, victim) {
    const link = links.link(victim.watcher, edgeOf(victim));
    link.blackHole("backward");
    return async () => link.pass();
  },
  async "link-slow"({ links }, victim) {
    const link = links.link(victim.watcher, edgeOf(victim));
    link.delay(SLOW_MS, SLOW_JITTER_MS);
    return async () => link.pass();
  },
  "gateway-kill": (scene, victim) => killAll(scene, [victim.name]),
  "region-loss": (scene, victim) => {
    const { processes } = scene.mesh.handle.state;
    const lost = processes.filter(({ region }) => region === victim.name);
    return killAll(
      scene,
      lost.map(({ name }) => name),
    );
  },
  async "region-dark"({ mesh, links }, { name, edges }) {
    const { regions } = mesh.handle.layout;
    const others = regions.map((region) => region.name).filter((other) => other !== name);
    return holdAll([
      links.link(ANYBODY, name),
      ...edges.map((edge) => links.link(name, edge)),
      ...[...others].flatMap((other) => [links.link(name, other), links.link(other, name)]),
      ...[...others, CENTRAL].flatMap((other) => [
        links.link(`nats-${name}-g`, `nats-${other}-g`),
        links.link(`nats-${other}-g`, `nats-${name}-g`),
      ]),
    ]);
  },
  async partition({ links }, victim) {
    const [from = "", to = ""] = victim.name.split(">");
    return holdAll([links.link(from, to), links.link(`nats-${from}-g`, `nats-${to}-g`)]);
  },
  "nats-kill": (scene, victim) => killAll(scene, [victim.name]),
  async rollout({ operator }) {
    await operator.rollOther();
    return async () => {};
  },
  async drain({ operator }, victim) {
    await operator.drain(victim.watcher, edgeOf(victim), DRAIN_GRACE_MS);
    return () => operator.undrain(victim.watcher, edgeOf(victim));
  },
};

/** Deals one fault. Throws KindMissing when this mesh doesn't offer what it takes. */
export function deal(kind: FaultKind, scene: Scene, victim: Victim): Promise<Heal> {
  return deals[kind](scene, victim);
}
