// Gives a new mesh something to serve: uploads the model and its public example sets to the
// coordinator and publishes the first version, once for a folder and model.
import { createHash } from "node:crypto";
import {
  createReadStream,
  openAsBlob,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { writeHomeExamples } from "./examples.ts";
import type { ModelSource } from "./model-source.ts";
import { MeshRefused } from "./usage-error.ts";

/** An upload stays on this machine; a large GGUF takes seconds. */
const UPLOAD_MAX_MS = 600_000;
const PUBLISH_MAX_MS = 30_000;

interface ArtifactReference {
  readonly sha256: string;
  readonly bytes: number;
  readonly name: string;
}

/** Publishes the model unless this folder's mesh has published the same file before. */
export async function seedMesh(
  coordinator: string,
  source: ModelSource,
  dir: string,
  onProgress: (line: string) => void,
): Promise<void> {
  const base = await reference(source.path);
  const seeded = readSeeded(dir);
  if (seeded[source.model] === base.sha256) return;
  onProgress(`publishing ${base.name} as "${source.model}"`);
  await upload(coordinator, source.path, base);
  const examples = source.isDemo ? await uploadExamples(coordinator, dir) : {};
  const response = await fetch(`${coordinator}/v1/models`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: source.model, base, ...examples }),
    signal: AbortSignal.timeout(PUBLISH_MAX_MS),
  });
  await expectOk(response, `publishing ${source.model}`);
  writeSeeded(dir, { ...seeded, [source.model]: base.sha256 });
}

async function uploadExamples(coordinator: string, dir: string) {
  const files = writeHomeExamples(join(dir, "examples"));
  const replay = await reference(files.replay);
  const heldout = await reference(files.heldout);
  await upload(coordinator, files.replay, replay);
  await upload(coordinator, files.heldout, heldout);
  return { replay, heldout };
}

async function upload(coordinator: string, path: string, artifact: ArtifactReference) {
  const name = encodeURIComponent(artifact.name);
  const response = await fetch(`${coordinator}/v1/artifacts/${artifact.sha256}?name=${name}`, {
    method: "PUT",
    body: await openAsBlob(path), // read as it is sent, its length known beforehand
    signal: AbortSignal.timeout(UPLOAD_MAX_MS),
  });
  await expectOk(response, `uploading ${artifact.name}`);
}

async function reference(path: string): Promise<ArtifactReference> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return { sha256: hash.digest("hex"), bytes: statSync(path).size, name: basename(path) };
}

async function expectOk(response: Response, what: string): Promise<void> {
  const text = await response.text();
  if (!response.ok) {
    throw new MeshRefused(`${what} failed: HTTP ${response.status} ${text.slice(0, 500)}`);
  }
}

function readSeeded(dir: string): Record<string, string> {
  try {
    return JSON.parse(readFileSync(join(dir, "seeded.json"), "utf8")) as Record<string, string>;
  } catch {
    return {}; // the first start
  }
}

function writeSeeded(dir: string, seeded: Readonly<Record<string, string>>): void {
  const path = join(dir, "seeded.json");
  writeFileSync(`${path}.new`, `${JSON.stringify(seeded)}\n`);
  renameSync(`${path}.new`, path);
}
