// Brings a GGUF file from wherever it is to the coordinator, and publishes it.
import { createWriteStream } from "node:fs";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Fault } from "../../proto/fault.ts";
import { hashFile, uploadArtifact } from "../../sync/artifact/artifact-upload.ts";
import type { ArtifactRef } from "../catalogue/model-record.ts";
import type { CommandScope } from "./command.ts";
import type { CoordinatorClient } from "./coordinator-client.ts";
import { bytesText } from "./terminal.ts";

export interface ModelSourceFiles {
  readonly model: string;
  /** A path, a URL, or hf:owner/repo/file. */
  readonly file: string;
  /** Served on the file. */
  readonly adapter?: string | undefined;
  readonly master?: string | undefined;
  readonly heldout?: string | undefined;
  readonly replay?: string | undefined;
}

/** Uploads what is needed and publishes; returns the version. */
export async function publishModel(
  source: ModelSourceFiles,
  client: CoordinatorClient,
  scope: CommandScope,
): Promise<string> {
  const scratch = await mkdtemp(join(tmpdir(), "isthmus-publish-"));
  try {
    const base = await upload(await fetchFile(source.file, scratch, scope), client, scope);
    const sets: Record<string, ArtifactRef> = {};
    for (const kind of ["master", "heldout", "replay"] as const) {
      const path = source[kind];
      if (path !== undefined) sets[kind] = await upload(resolve(scope.cwd, path), client, scope);
    }
    const body = {
      model: source.model,
      base,
      ...sets,
      ...(await adaptersOf(source, client, scope)),
    };
    return (await client.post<{ version: string }>("/v1/models", body)).version;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function adaptersOf(
  { adapter }: ModelSourceFiles,
  client: CoordinatorClient,
  scope: CommandScope,
) {
  if (adapter === undefined) return {};
  const artifact = await upload(resolve(scope.cwd, adapter), client, scope);
  return { adapters: [{ artifact, scale: 1 }] };
}

/** Uploads a file unless it is there. Faults: `not-found`, and those of the coordinator. */
export async function upload(
  path: string,
  client: CoordinatorClient,
  { terminal, signal }: CommandScope,
): Promise<ArtifactRef> {
  const name = basename(path);
  const found = await stat(path).catch(() => undefined);
  if (!found?.isFile()) throw new Fault("not-found", `there is no file ${path}`);
  terminal.progress(`${name}: hashing ${bytesText(found.size)}`, `hash ${name}`);
  const file = await hashFile(path);
  const onProgress = (bytes: number, total: number) => {
    const share = total === 0 ? 100 : Math.floor((100 * bytes) / total);
    const tenth = `upload ${name} ${Math.floor(share / 10)}`;
    terminal.progress(`${name}: ${share} % of ${bytesText(total)} uploaded`, tenth);
  };
  await uploadArtifact(file, client.address, { signal, onProgress });
  return { sha256: file.sha256, bytes: file.bytes, name };
}

async function fetchFile(source: string, scratch: string, scope: CommandScope): Promise<string> {
  if (source.startsWith("hf:")) return await resolveHuggingFace(source, scratch, scope);
  if (!/^https?:\/\//.test(source)) return resolve(scope.cwd, source);
  const { terminal, signal } = scope;
  const response = await fetch(source, { signal }).catch((thrown: unknown) => {
    throw new Fault("unavailable", `${source} can't be reached`, { cause: thrown });
  });
  if (!response.ok || response.body === null) {
    throw new Fault("unavailable", `${source} answered ${response.status}`);
  }
  const name = basename(new URL(source).pathname) || "model.gguf";
  const total = Number(response.headers.get("content-length") ?? 0);
  let bytes = 0;
  const counted = async function* (chunks: AsyncIterable<Uint8Array>) {
    for await (const chunk of chunks) {
      bytes += chunk.length;
      const of = total > 0 ? ` of ${bytesText(total)}` : "";
      const step = total > 0 ? Math.floor((10 * bytes) / total) : 0;
      terminal.progress(`${name}: ${bytesText(bytes)}${of} fetched`, `fetch ${name} ${step}`);
      yield chunk;
    }
  };
  const path = join(scratch, name);
  const body = Readable.from(response.body as AsyncIterable<Uint8Array>);
  await pipeline(body, counted, createWriteStream(path), { signal });
  return path;
}

async function resolveHuggingFace(
  source: string,
  scratch: string,
  { terminal }: CommandScope,
): Promise<string> {
  const { resolveModelFile } = await import("node-llama-cpp");
  const onProgress = (status: { totalSize: number; downloadedSize: number }) => {
    const share = Math.floor((100 * status.downloadedSize) / Math.max(1, status.totalSize));
    const text = `${source}: ${share} % of ${bytesText(status.totalSize)} fetched`;
    terminal.progress(text, `fetch ${Math.floor(share / 10)}`);
  };
  try {
    return await resolveModelFile(source, { directory: scratch, cli: false, onProgress });
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    throw new Fault("unavailable", `${source} can't be fetched: ${reason}`, { cause: thrown });
  }
}
