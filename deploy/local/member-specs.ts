// Turns a layout into the processes to run: writes each one's configuration file and says how it is
// started and how it shows that it is ready.
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { CENTRAL } from "../nats/config.ts";
import { type PrivateData, writePrivateExamples } from "./examples.ts";
import type { MeshLayout } from "./layout.ts";
import type { MemberSpec } from "./mesh-member.ts";
import type { ModelSource } from "./model-source.ts";
import { coordinatorConfig, edgeConfig, type RoleOverrides, regionConfig } from "./role-config.ts";
import type { ProcessPlan } from "./supervised-process.ts";

const REPOSITORY = resolve(import.meta.dirname, "../..");

export type RoleProgram = "coordinator" | "region" | "edge-node" | "wan";

export interface SpecOptions {
  /** Keys laid over the configuration that each role gets, for tests and benches. */
  readonly overrides?: RoleOverrides;
  /** Where the roles' programs are. Default: the repository's own. */
  readonly programs?: Readonly<Partial<Record<RoleProgram, string>>>;
}

export function natsSpecs(layout: MeshLayout, binary: string): MemberSpec[] {
  return layout.nats.map(({ name, region, url, monitorUrl, config }) => {
    const configPath = join(layout.configDir, `${name}.conf`);
    writeFileSync(configPath, config);
    const plan = {
      name,
      command: binary,
      args: ["-c", configPath],
      logPath: join(layout.logDir, `${name}.log`),
      readiness: { url: `${monitorUrl}/healthz` },
      server: true,
    };
    return { role: "nats", name, region, nats: url, plan };
  });
}

/** The emulated network, where there is one. */
export function wanSpecs(layout: MeshLayout, options: SpecOptions): MemberSpec[] {
  if (layout.wan === undefined) return [];
  const { http, config } = layout.wan;
  const dir = join(layout.shape.dir, "wan");
  const plan = rolePlan(layout, options, "wan", { name: "wan", dir, config });
  return [{ role: "wan", name: "wan", region: "wan", http, plan }];
}

export function coordinatorSpec(layout: MeshLayout, options: SpecOptions): MemberSpec {
  const { http, grpc, dir, natsUrls } = layout.coordinator;
  const config = coordinatorConfig(layout, options.overrides ?? {});
  return {
    role: "coordinator",
    name: "coordinator",
    region: CENTRAL,
    http,
    grpc,
    nats: natsUrls[0] ?? "",
    plan: rolePlan(layout, options, "coordinator", { name: "coordinator", dir, config }),
  };
}

export function regionSpecs(layout: MeshLayout, options: SpecOptions): MemberSpec[] {
  return layout.regions.map((region) => {
    const { name, http, grpc, dir, natsUrls } = region;
    const config = regionConfig(layout, region, options.overrides ?? {});
    return {
      role: "region",
      name,
      region: name,
      http,
      grpc,
      nats: natsUrls[0] ?? "",
      plan: rolePlan(layout, options, "region", { name, dir, config }),
    };
  });
}

/** The edges, each with its private examples when the model is the one they are made for. */
export function edgeSpecs(
  layout: MeshLayout,
  options: SpecOptions,
  source: ModelSource | undefined,
): MemberSpec[] {
  const examples = source?.isDemo ? writePrivateExamples(layout) : new Map<string, PrivateData>();
  return layout.regions.flatMap((region) =>
    region.edges.map((edge): MemberSpec => {
      const { name, http, grpc, dir } = edge;
      const own = examples.get(name);
      const privateData = source && own ? { [source.model]: own } : {};
      const config = edgeConfig(layout, region, edge, privateData, options.overrides ?? {});
      return {
        role: "edge",
        name,
        region: edge.region,
        http,
        grpc,
        nats: region.natsUrls[0] ?? "",
        plan: rolePlan(layout, options, "edge-node", { name, dir, config }),
        servingUrl: `${http}/readyz`,
      };
    }),
  );
}

const folderOf: Readonly<Record<RoleProgram, string>> = {
  coordinator: "coordinator",
  region: "region",
  "edge-node": "edge-node",
  wan: "deploy/wan",
};

interface RoleFiles {
  readonly name: string;
  readonly dir: string;
  readonly config: object;
}

function rolePlan(
  layout: MeshLayout,
  options: SpecOptions,
  program: RoleProgram,
  { name, dir, config }: RoleFiles,
): ProcessPlan {
  mkdirSync(dir, { recursive: true });
  const configPath = join(layout.configDir, `${name}.json`);
  writeFileSync(configPath, `${JSON.stringify(config, null, 2)}\n`);
  const main = options.programs?.[program] ?? join(REPOSITORY, folderOf[program], "main.ts");
  return {
    name,
    command: process.execPath,
    args: [main, "--config", configPath, "--watch-parent"],
    logPath: join(layout.logDir, `${name}.log`),
    readiness: "ready-line",
    server: false,
  };
}
