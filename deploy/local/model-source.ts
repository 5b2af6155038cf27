// Which model a local mesh publishes: the demo model that the repository carries, or the GGUF that
// `--model` names by path, URL or hf:owner/repo/file.
import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { modelPattern } from "../../proto/ids.ts";
import { MeshRefused, UsageError } from "./usage-error.ts";

export interface ModelSource {
  /** What callers ask for. */
  readonly model: string;
  readonly path: string;
  /** Whether the example files made for the demo model fit it. */
  readonly isDemo: boolean;
}

const DEMO_MODEL = "commands";
const DEMO_PATH = resolve(import.meta.dirname, "../demo-model/commands-q8_0.gguf");

/** Finds the model's file, fetching it into `dir` first when it is elsewhere. */
export async function resolveModel(model: string | undefined, dir: string): Promise<ModelSource> {
  if (model === undefined) {
    if (existsSync(DEMO_PATH)) return { model: DEMO_MODEL, path: DEMO_PATH, isDemo: true };
    throw new MeshRefused(`the demo model ${DEMO_PATH} is missing: make it by npm run model:build`);
  }
  const path = isRemote(model) ? await fetchModel(model, dir) : resolve(model);
  if (!existsSync(path)) throw new UsageError(`--model: there is no file ${path}`);
  return { model: modelName(path), path, isDemo: false };
}

/** A name that callers can type, from the file's: without folders, `.gguf` and odd characters. */
export function modelName(path: string): string {
  const plain = basename(path)
    .replace(/\.gguf$/i, "")
    .replaceAll(/[^a-zA-Z0-9._-]+/g, "-")
    .replaceAll(/^[._-]+|[._-]+$/g, "")
    .slice(0, 127);
  if (!modelPattern.test(plain)) {
    throw new UsageError(`--model: "${basename(path)}" makes no model name; rename the file`);
  }
  return plain;
}

function isRemote(model: string): boolean {
  return /^(hf|https?):/.test(model);
}

async function fetchModel(model: string, dir: string): Promise<string> {
  // Loaded on demand: it brings native parts that a mesh on a local file doesn't need here.
  const { resolveModelFile } = await import("node-llama-cpp");
  try {
    return await resolveModelFile(model, { directory: join(dir, "models"), cli: false });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new MeshRefused(`--model: ${model} could not be fetched: ${reason}`);
  }
}
