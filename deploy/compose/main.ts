// `node deploy/compose/main.ts`: writes deploy/compose.yaml and the configurations that it mounts.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { composeYaml } from "./compose-yaml.ts";
import { configFiles } from "./config-files.ts";

const deployDir = resolve(import.meta.dirname, "..");
const configDir = join(deployDir, "compose", "config");

rmSync(configDir, { recursive: true, force: true });
mkdirSync(configDir, { recursive: true });
for (const [name, text] of configFiles()) writeFileSync(join(configDir, name), text);
writeFileSync(join(deployDir, "compose.yaml"), composeYaml());
