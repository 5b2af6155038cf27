// The compose file and what it mounts: as the generator gives them, read by the roles' own schemas,
// and fitting together.
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import test from "ava";
import { parse } from "yaml";
import type { z } from "zod";
import { coordinatorConfigSchema } from "../../../coordinator/config.ts";
import { composeYaml } from "../../../deploy/compose/compose-yaml.ts";
import { configFiles } from "../../../deploy/compose/config-files.ts";
import { composeTopology, homeName, remoteTargets } from "../../../deploy/compose/topology.ts";
import { loadConfigSchema } from "../../../deploy/load/config.ts";
import { type WanConfig, wanConfigSchema } from "../../../deploy/wan/config.ts";
import { edgeConfigSchema } from "../../../edge-node/config.ts";
import { regionConfigSchema } from "../../../region/config.ts";
import { parseConfig, parseSetting } from "../../../runtime/config.ts";

interface Service {
  readonly command: readonly string[];
  readonly user?: string;
  readonly read_only?: boolean;
  readonly cap_drop?: readonly string[];
  readonly mem_limit?: string;
  readonly pids_limit?: number;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly networks: readonly string[] | Readonly<Record<string, { aliases: readonly string[] }>>;
}

interface ComposeFile {
  readonly services: Readonly<Record<string, Service>>;
  readonly networks: Readonly<Record<string, { ipam: { config: { subnet: string }[] } }>>;
  readonly volumes: Readonly<Record<string, null>>;
}

const deployDir = resolve(import.meta.dirname, "../../../deploy");
const configDir = join(deployDir, "compose", "config");
const text = readFileSync(join(deployDir, "compose.yaml"), "utf8");
const compose = parse(text, { merge: true }) as ComposeFile;
const services = Object.entries(compose.services);
const files = configFiles();
const topology = composeTopology();

const schemas: Readonly<Record<string, z.ZodType>> = {
  coordinator: coordinatorConfigSchema,
  region: regionConfigSchema,
  "edge-node": edgeConfigSchema,
  wan: wanConfigSchema,
  load: loadConfigSchema,
};

/** The names by which a service is found in each of its networks. */
function namesIn(name: string, { networks }: Service): Map<string, readonly string[]> {
  if (Array.isArray(networks)) return new Map(networks.map((network) => [network, [name]]));
  const named = Object.entries(networks as Readonly<Record<string, { aliases: string[] }>>);
  return new Map(named.map(([network, { aliases }]) => [network, [name, ...aliases]]));
}

/** Configuration of a service's role, with its settings, through the role's own schema. */
function configOf({ command }: Service): Record<string, unknown> {
  const [role = "", flag, path = "", ...rest] = command;
  if (flag !== "--config") throw new Error(`no configuration in ${command.join(" ")}`);
  const settings = rest.filter((_, at) => at % 2 === 1).map(parseSetting);
  const file = files.get(path.replace("/etc/isthmus/", "")) ?? "";
  return parseConfig(schemas[role]!, file, path, settings) as Record<string, unknown>;
}

test("what is committed is what the generator gives", (t) => {
  t.is(text, composeYaml(), "run node deploy/compose/main.ts");
  t.deepEqual(readdirSync(configDir).sort(), [...files.keys()].sort());
  for (const [name, content] of files) {
    t.is(readFileSync(join(configDir, name), "utf8"), content, name);
  }
});

test("every role's configuration passes the role's own schema, settings and all", (t) => {
  const roles = services.filter(([, { command }]) => schemas[command[0] ?? ""] !== undefined);
  const started = new Set(roles.map(([, { command }]) => command[0] ?? ""));
  t.deepEqual([...started].sort(), Object.keys(schemas).sort());
  for (const [name, service] of roles) t.notThrows(() => configOf(service), name);
});

test("every service is contained: published on the loopback alone, read-only, bounded", (t) => {
  for (const [name, service] of services) {
    for (const port of service.ports ?? []) t.regex(port, /^127\.0\.0\.1:\d+:\d+$/, name);
    t.true(service.read_only, name);
    t.deepEqual(service.cap_drop, ["ALL"], name);
    t.regex(service.mem_limit ?? "", /^\d+[mg]$/, name);
    t.true((service.pids_limit ?? 0) > 0, name);
    if (!name.startsWith("nats-")) t.is(service.user, "1000:1000", name);
  }
  const published = services.flatMap(([, { ports = [] }]) => ports);
  t.is(new Set(published.map((port) => port.split(":")[1])).size, published.length);
});

test("what a service waits for, mounts and starts with exists", (t) => {
  for (const [name, { depends_on = {}, volumes = [], command }] of services) {
    for (const other of Object.keys(depends_on)) t.true(other in compose.services, name);
    for (const volume of volumes) {
      const [source = ""] = volume.split(":");
      t.true(source === "./compose/config" || source in compose.volumes, `${name}: ${source}`);
    }
    const config = command.find((word) => word.startsWith("/etc/isthmus/"));
    if (config !== undefined) t.true(files.has(config.replace("/etc/isthmus/", "")), config);
  }
});

test("every route of the WAN ends at a container that listens there", (t) => {
  const { routes, sites } = JSON.parse(files.get("wan.json") ?? "") as WanConfig;
  t.is(new Set(routes.map(({ port }) => port)).size, routes.length, "a port is one target");
  for (const { target, site, port } of routes) {
    const [host = ""] = target.split(":");
    const found = services.filter(([name, service]) =>
      namesIn(name, service).get(site)?.includes(host),
    );
    t.true(found.length >= 1, target);
    for (const [name, service] of found) {
      if (name.startsWith("nats-")) {
        t.regex(files.get(`${name}.conf`) ?? "", new RegExp(`listen: "0.0.0.0:${port}"`));
        continue;
      }
      const { http, grpc } = configOf(service) as Record<"http" | "grpc", { port: number }>;
      t.true([http.port, grpc.port].includes(port), `${name} at ${port}`);
    }
  }
  for (const [name, { subnets }] of Object.entries(sites)) {
    t.deepEqual(subnets, [compose.networks[name]?.ipam.config[0]?.subnet]);
  }
});

test("in each network the WAN has the names of what is elsewhere, and of nothing there", (t) => {
  const wan = namesIn("wan", compose.services.wan!);
  for (const { name: site } of topology.sites) {
    const names = wan.get(site) ?? [];
    for (const target of remoteTargets(topology)) {
      t.is(names.includes(target.host), target.site !== site, `${target.host} in ${site}`);
      t.false(names.includes(homeName(target.host, target.site)));
    }
  }
});

test("a service is in its site's network alone; only the WAN is in all", (t) => {
  for (const [name, service] of services) {
    const networks = namesIn(name, service).size;
    t.is(networks, name === "wan" ? topology.sites.length : 1, name);
  }
});
