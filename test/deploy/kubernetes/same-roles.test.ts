// Manifests, compose file and local mesh start the same roles, with the same keys in their
// configurations but for the differences that stand here.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import test from "ava";
import { parse } from "yaml";
import type { z } from "zod";
import { natsServerPlans } from "../../../deploy/nats/config.ts";
import { parseConfig } from "../../../runtime/config.ts";
import { kubernetesDir, type Rendered, renderOverlays } from "./rendered-overlays.ts";
import {
  keysOf,
  type RoleName,
  roleSchemas,
  rolesOfCompose,
  rolesOfLocalMesh,
  rolesOfManifests,
  type StartedRole,
} from "./started-roles.ts";

const REGIONS = ["us", "eu", "ap"] as const;
const EDGES = 3;

/** Keys that not all have, and why. */
const differences: Readonly<Record<RoleName, Readonly<Record<string, string>>>> = {
  coordinator: {},
  region: {
    instance: "a local region is alone",
    "own.http": "for a pair",
    "own.grpc": "for a pair",
    "advertise.http": "on one machine, where it listens",
    "advertise.grpc": "on one machine, where it listens",
    peers: "in Kubernetes, those that tell of themselves suffice",
  },
  "edge-node": {
    "advertise.http": "on one machine, where it listens",
    "advertise.grpc": "on one machine, where it listens",
    "engine.slots": "sized for a pod's memory",
    "engine.contextSize": "sized for a pod's memory",
    "training.memoryMiBMax": "half of a node's memory is more than a pod's",
    privateData: "the demo's",
  },
};

const rendered = await renderOverlays();
const named = (name: string) => rendered.find((overlay) => overlay.name === name) as Rendered;
const clusters = ["central", ...REGIONS].map((site) => named(`cluster-per-region/${site}`));
const meshes: Readonly<Record<string, readonly StartedRole[]>> = {
  "one cluster": rolesOfManifests(named("one-cluster")),
  "a cluster each": clusters.flatMap(rolesOfManifests),
  compose: rolesOfCompose(),
  local: rolesOfLocalMesh(REGIONS, EDGES),
};

function text({ config }: StartedRole): string {
  return JSON.stringify(config);
}

test("every role's configuration is one that the role takes", (t) => {
  for (const role of [
    ...Object.values(meshes).flat(),
    ...rolesOfManifests(named("one-cluster-full")),
  ]) {
    t.notThrows(() => parseConfig(roleSchemas[role.role] as z.ZodType, text(role), role.origin));
  }
});

test("all start one coordinator, the same regions and three edges in each", (t) => {
  for (const [mesh, roles] of Object.entries(meshes)) {
    const of = (role: RoleName) => roles.filter((started) => started.role === role);
    t.is(of("coordinator").length, 1, mesh);
    const regions = new Set(of("region").map(({ config }) => config.name));
    t.deepEqual([...regions].sort(), [...REGIONS].sort(), mesh);
    for (const region of REGIONS) {
      const edges = of("edge-node").filter(({ config }) => config.region === region);
      t.is(new Set(edges.map(({ config }) => config.name)).size, EDGES, `${mesh} ${region}`);
    }
  }
});

test("two of one region differ in what must differ, and share a folder and an address", (t) => {
  for (const mesh of ["one cluster", "a cluster each"]) {
    for (const region of REGIONS) {
      const pair = meshes[mesh]!.filter(
        ({ role, config }) => role === "region" && config.name === region,
      );
      t.is(pair.length, 2);
      const parsed = pair.map((one) => parseConfig(roleSchemas.region, text(one), one.origin));
      const [a, b] = parsed;
      t.not(a!.instance, b!.instance);
      t.not(a!.own.http, b!.own.http);
      t.deepEqual(a!.advertise, b!.advertise);
      t.is(a!.dir, b!.dir);
    }
  }
});

test("the keys of each role are the same everywhere, but for a short list that is true", (t) => {
  for (const role of Object.keys(roleSchemas) as RoleName[]) {
    const sets = Object.values(meshes).flatMap((roles) =>
      roles.filter((started) => started.role === role).map(({ config }) => new Set(keysOf(config))),
    );
    const every = new Set(sets.flatMap((keys) => [...keys]));
    const differing = [...every].filter((key) => !sets.every((keys) => keys.has(key)));
    t.deepEqual(differing.sort(), Object.keys(differences[role]).sort(), role);
  }
});

test("whom a role is told to reach is a service of its cluster or a name of another's", (t) => {
  const doors = new Set(
    clusters.flatMap(({ objects }) =>
      objects.map(({ data = {} }) => data.DOOR_HOST).filter((host) => host !== undefined),
    ),
  );
  for (const overlay of [named("one-cluster"), named("one-cluster-full"), ...clusters]) {
    for (const { config, origin } of rolesOfManifests(overlay)) {
      for (const [host, namespace] of hostsOf(config)) {
        if (host.startsWith("nats-")) continue; // Helm's: see below
        const service = overlay
          .ofKind("Service")
          .some(({ metadata }) => metadata.name === host && metadata.namespace === namespace);
        t.true(service || doors.has([host, namespace, "example"].join(".")), `${origin}: ${host}`);
      }
    }
  }
});

/** The services that a configuration's addresses name, each with its namespace. */
function hostsOf(config: object): [string, string | undefined][] {
  const addresses = JSON.stringify(config).matchAll(/"(?:\w+:\/\/)?([a-z0-9.-]+):\d+"/g);
  return [...addresses].flatMap(([, host = ""]) => {
    const parts = host.split(".");
    if (host === "0.0.0.0" || parts.length === 1) return [];
    if (parts.at(-1) === "svc") return [[parts.at(-3) ?? "", parts.at(-2)] as [string, string]];
    return parts.at(-1) === "example" ? [[parts[0] ?? "", parts[1]] as [string, string]] : [];
  });
}

test("Helm's values set what the local servers' configurations set", (t) => {
  const ports = { coreClient: 1, coreGateway: 2, coreLeaf: 3, coreMonitor: 4 };
  const site = { region: "us", ports: { ...ports, jetstreamClient: 5, jetstreamMonitor: 6 } };
  const plans = natsServerPlans([site], "/state");
  for (const [kind, file] of [
    ["g", "values-core.yaml"],
    ["j", "values-jetstream.yaml"],
  ] as const) {
    const { config } = valuesOf(file);
    const local = plans.find((plan) => plan.kind === kind)!.config;
    for (const [key, value] of Object.entries(config.merge)) {
      if (typeof value === "object") continue;
      const plain = String(value).replace(/^<< (.*) >>$/, "$1");
      t.regex(local, new RegExp(`^${key}: "?${plain}"?$`, "m"), `${file} ${key}`);
    }
    t.is(kind === "j", config.jetstream?.enabled === true);
  }
});

test("the gateways of NATS name every site, where its core server is", (t) => {
  const sites = ["central", ...REGIONS];
  const hosts = (file: string) =>
    valuesOf(file).config.gateway!.merge.gateways.map(({ name, url }) => [
      name,
      new URL(url).hostname,
    ]);
  t.deepEqual(
    hosts("gateways-one-cluster.yaml"),
    sites.map((site) => [site, `nats-${site}-g-headless.isthmus-${site}.svc`]),
  );
  const told = clusters.map(
    ({ objects }) => objects.find(({ data }) => data?.NATS_HOST)!.data!.NATS_HOST,
  );
  t.deepEqual(
    hosts("gateways-cluster-per-region.yaml"),
    sites.map((site, index) => [site, told[index]]),
  );
});

interface Values {
  readonly config: {
    readonly merge: Readonly<Record<string, unknown>>;
    readonly jetstream?: { readonly enabled: boolean };
    readonly gateway?: {
      readonly merge: {
        readonly gateways: readonly { readonly name: string; readonly url: string }[];
      };
    };
  };
}

function valuesOf(file: string): Values {
  return parse(readFileSync(resolve(kubernetesDir, "nats", file), "utf8")) as Values;
}
