// The roles that manifests, compose file and local mesh start, each with the configuration that its
// process would read: the file with every `--set` laid over it.
import { readFileSync } from "node:fs";
import { basename, resolve } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import { coordinatorConfigSchema } from "../../../coordinator/config.ts";
import { meshLayout } from "../../../deploy/local/layout.ts";
import { coordinatorConfig, edgeConfig, regionConfig } from "../../../deploy/local/role-config.ts";
import { edgeConfigSchema } from "../../../edge-node/config.ts";
import { regionConfigSchema } from "../../../region/config.ts";
import { parseConfig, parseSetting, type Setting } from "../../../runtime/config.ts";
import type { Rendered, Workload } from "./rendered-overlays.ts";

export const roleSchemas = {
  coordinator: coordinatorConfigSchema,
  region: regionConfigSchema,
  "edge-node": edgeConfigSchema,
} as const;
export type RoleName = keyof typeof roleSchemas;

export interface StartedRole {
  readonly role: RoleName;
  /** Of the process: pod, service or member. */
  readonly name: string;
  readonly origin: string;
  /** The configuration as JSON, before defaults. */
  readonly config: Readonly<Record<string, unknown>>;
}

const composeDir = resolve(import.meta.dirname, "../../../deploy");

export function rolesOfManifests(rendered: Rendered): StartedRole[] {
  return rendered.workloads().flatMap((workload) => podRoles(rendered, workload));
}

export function rolesOfCompose(): StartedRole[] {
  const text = readFileSync(resolve(composeDir, "compose.yaml"), "utf8");
  const { services } = parse(text, { merge: true }) as {
    services: Record<string, { command?: string[] }>;
  };
  return Object.entries(services).flatMap(([name, { command = [] }]) => {
    if (!isRole(command[0])) return [];
    const file = (path: string) =>
      readFileSync(resolve(composeDir, "compose/config", basename(path)), "utf8");
    return [startedRole("compose", name, command, file)];
  });
}

export function rolesOfLocalMesh(regions: readonly string[], edges: number): StartedRole[] {
  const layout = meshLayout({ dir: "/state", regions, edges, portBase: 8400 });
  const started = (role: RoleName, name: string, config: object): StartedRole => ({
    role,
    name,
    origin: `local ${name}`,
    config: config as Record<string, unknown>,
  });
  return [
    started("coordinator", "coordinator", coordinatorConfig(layout, {})),
    ...layout.regions.flatMap((region) => [
      started("region", `region-${region.name}`, regionConfig(layout, region, {})),
      ...region.edges.map((edge) =>
        started("edge-node", `edge-${edge.name}`, edgeConfig(layout, region, edge, {}, {})),
      ),
    ]),
  ];
}

/** The keys of a configuration, `a.b.c`; lists are values. */
export function keysOf(config: object, above = ""): string[] {
  return Object.entries(config).flatMap(([key, value]) => {
    const path = `${above}${key}`;
    if (typeof value !== "object" || value === null || Array.isArray(value)) return [path];
    const below = keysOf(value, `${path}.`);
    return below.length === 0 ? [path] : below;
  });
}

/** Every pod of a workload, with the variables that Kubernetes would give it. */
function podRoles(rendered: Rendered, workload: Workload): StartedRole[] {
  const { metadata, spec } = workload;
  const [container] = spec.template.spec.containers;
  const { replicas = 1, ordinals = { start: 0 } } = spec;
  const [role = ""] = container.args;
  if (!isRole(role)) throw new Error(`${metadata.name} starts "${role}"`);
  return Array.from({ length: replicas }, (_, index) => {
    const name = `${metadata.name}-${ordinals.start + index}`;
    const variables = new Map<string, string>([
      ["POD_NAME", name],
      ["POD_NAMESPACE", metadata.namespace ?? "default"],
      ["POD_INDEX", String(ordinals.start + index)],
      ["ENGINE_THREADS", container.resources.requests.cpu ?? ""],
    ]);
    for (const { configMapRef } of container.envFrom) {
      const { data = {} } = rendered.beside(metadata, "ConfigMap", configMapRef.name) ?? {};
      for (const [key, value] of Object.entries(data)) variables.set(key, value);
    }
    const args = container.args.map((arg) =>
      arg.replaceAll(/\$\((\w+)\)/g, (reference, key) => variables.get(key) ?? reference),
    );
    return startedRole(rendered.name, name, args, (path) => mountedFile(rendered, workload, path));
  });
}

function mountedFile(rendered: Rendered, { metadata, spec }: Workload, path: string): string {
  const { containers, volumes } = spec.template.spec;
  const mount = containers[0].volumeMounts.find(({ mountPath }) => path.startsWith(mountPath));
  const volume = volumes.find(({ name }) => name === mount?.name);
  const map = rendered.beside(metadata, "ConfigMap", volume?.configMap?.name ?? "");
  const text = map?.data?.[basename(path)];
  if (text === undefined) throw new Error(`${metadata.name} has no ${path}`);
  return text;
}

function startedRole(
  from: string,
  name: string,
  args: readonly string[],
  file: (path: string) => string,
): StartedRole {
  const role = args[0];
  if (!isRole(role)) throw new Error(`"${role}" is no role`);
  const [path = ""] = optionsOf(args, "--config");
  const settings: Setting[] = optionsOf(args, "--set").map(parseSetting);
  const origin = `${from} ${name}`;
  const config = parseConfig(z.looseObject({}), file(path), origin, settings);
  return { role, name, origin, config };
}

/** Both `--name value` and `--name=value`. */
function optionsOf(args: readonly string[], name: string): string[] {
  return args.flatMap((arg, index) => {
    if (arg === name) return [args[index + 1] ?? ""];
    return arg.startsWith(`${name}=`) ? [arg.slice(name.length + 1)] : [];
  });
}

function isRole(text: string | undefined): text is RoleName {
  return text !== undefined && Object.hasOwn(roleSchemas, text);
}
