// Finds nats-server, the one part that npm doesn't carry, or brings it, or says how to install it.
import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { platform } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { defaultCacheDir, isWritable, searchFolders } from "./binary-folders.ts";
import { fetchDistributionPackage } from "./distribution-package.ts";

const run = promisify(execFile);

/** What the mesh is made for. */
const WANTED_VERSION = "2.10.0";
/** What it still runs on, at the price that nats-server's own notes name. */
const OLDEST_VERSION = "2.9.10";
const VERSION_QUERY_MAX_MS = 10_000;

export interface NatsServerBinary {
  readonly path: string;
  readonly version: string;
}

export interface FindNatsServerOptions {
  /** The mesh's state folder; its `bin` is looked into, and used where no cache can be written. */
  readonly stateDir: string;
  /** Folders to search, in PATH's form. Default: PATH and the system's folders. */
  readonly searchPath?: string;
  /** Shared by all clones of one user. Default: `~/.cache/isthmus/bin`. */
  readonly cacheDir?: string;
  /** Where os-release and apt's sources are. Default: `/etc`. */
  readonly etcDir?: string;
  /** Gets a line whenever something takes a while or needs attention. Default: stderr. */
  readonly onProgress?: (line: string) => void;
}

/** Says that nats-server is missing and how to get it, in words for the terminal. */
export class NatsServerMissing extends Error {
  constructor() {
    super(
      `nats-server ${WANTED_VERSION} or newer was not found and could not be fetched here.\n` +
        `Install it with this command, then try again:\n\n    ${installCommand(platform())}\n`,
    );
    this.name = "NatsServerMissing";
  }
}

/**
 * Returns a nats-server that the mesh can run on: from the PATH, from the state folder or the
 * user's cache, else fetched as the distribution's package. A version from 2.9.10 is taken, with
 * a warning, when nothing newer can be had.
 * Faults: NatsServerMissing, whose message ends with the command to run.
 */
export async function findNatsServer(options: FindNatsServerOptions): Promise<NatsServerBinary> {
  const onProgress = options.onProgress ?? ((line) => process.stderr.write(`${line}\n`));
  const stateBin = resolve(options.stateDir, "bin");
  const cacheDir = options.cacheDir ?? defaultCacheDir();
  const folders = [...searchFolders(options.searchPath), stateBin, cacheDir];
  let best = await newest(folders.map((folder) => join(folder, "nats-server")));
  if (best !== undefined && isAtLeast(best.version, WANTED_VERSION)) return best;

  onProgress(`nats-server ${WANTED_VERSION} or newer is not installed: fetching it, this once`);
  const fetched = await fetchDistributionPackage({
    package: "nats-server",
    file: "usr/sbin/nats-server",
    binDir: (await isWritable(cacheDir)) ? cacheDir : stateBin,
    ...(options.etcDir === undefined ? {} : { etcDir: options.etcDir }),
    onProgress,
    isNewEnough: async (path) => {
      const version = await readVersion(path);
      return version !== undefined && isAtLeast(version, WANTED_VERSION);
    },
  });
  if (fetched !== undefined) best = (await newest([fetched, ...(best ? [best.path] : [])])) ?? best;
  if (best === undefined || !isAtLeast(best.version, OLDEST_VERSION)) throw new NatsServerMissing();
  if (isAtLeast(best.version, WANTED_VERSION)) {
    onProgress(`nats-server ${best.version} is ready in ${best.path}`);
  } else {
    onProgress(`warning: nats-server ${best.version} is old; ${WANTED_VERSION} or newer is better`);
  }
  return best;
}

/** The command that installs nats-server on a platform (as node:os names it). */
export function installCommand(system: NodeJS.Platform): string {
  if (system === "darwin") return "brew install nats-server";
  if (system === "linux") return "sudo apt-get update && sudo apt-get install -y nats-server";
  if (system === "win32") return "winget install NATSAuthors.NATSServer";
  return "go install github.com/nats-io/nats-server/v2@latest";
}

/** Compares dotted versions by number, part by part. */
export function isAtLeast(version: string, wanted: string): boolean {
  const parts = version.split(".").map(Number);
  for (const [index, least] of wanted.split(".").map(Number).entries()) {
    const part = parts[index] ?? 0;
    if (part !== least) return part > least;
  }
  return true;
}

/** The first of the wanted version, else the newest of all that run. */
async function newest(paths: readonly string[]): Promise<NatsServerBinary | undefined> {
  let best: NatsServerBinary | undefined;
  for (const path of paths) {
    const version = await readVersion(path);
    if (version === undefined) continue;
    if (isAtLeast(version, WANTED_VERSION)) return { path, version };
    if (best === undefined || isAtLeast(version, best.version)) best = { path, version };
  }
  return best;
}

/** The version a binary reports; undefined when it is absent or doesn't run here. */
async function readVersion(path: string): Promise<string | undefined> {
  try {
    await access(path, constants.X_OK);
    const { stdout } = await run(path, ["--version"], { timeout: VERSION_QUERY_MAX_MS });
    return /v(\d+\.\d+\.\d+)/.exec(stdout)?.[1];
  } catch {
    return undefined;
  }
}
