// Cuts package.json and package-lock.json down to what an image for one target installs: production
// only, the engine's binaries for this processor, and of its GPU parts the one asked for. Run while
// the image is built: node engine-lock.ts cpu|cuda
import { readFileSync, writeFileSync } from "node:fs";

export const engines = ["cpu", "cuda"] as const;
export type EngineKind = (typeof engines)[number];

export interface ImageTarget {
  readonly engine: EngineKind;
  /** As Node names processors: x64, arm64. */
  readonly cpu: string;
}

interface Dependencies {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
}

interface LockEntry extends Dependencies {
  readonly dev?: boolean;
  readonly os?: readonly string[];
  readonly cpu?: readonly string[];
  readonly libc?: readonly string[];
}

export interface PackageLock {
  readonly packages: Readonly<Record<string, LockEntry>>;
}

const ENGINE_SCOPE = "@node-llama-cpp/";
/** The image brings Node itself, and nothing in it compiles TypeScript. */
const unneeded = /^(node|typescript|@typescript\/.*)$/;

/** The lock without the packages that this target doesn't install; whole in itself, as npm asks. */
export function engineLock<L extends PackageLock>(lock: L, target: ImageTarget): L {
  const kept = Object.entries(lock.packages).filter(([path, entry]) =>
    isInstalled(path, entry, target),
  );
  const names = new Set(kept.map(([path]) => path.replace(/^.*node_modules\//, "")));
  const packages = kept.map(([path, entry]) => [path, trimmed(entry, names)] as const);
  return { ...lock, packages: Object.fromEntries(packages) };
}

/** The package.json that fits the lock. */
export function enginePackage<P extends Dependencies>(manifest: P): P {
  return trimmed(manifest, new Set(Object.keys(manifest.dependencies ?? {})));
}

function isInstalled(path: string, entry: LockEntry, { engine, cpu }: ImageTarget): boolean {
  const name = path.replace(/^.*node_modules\//, "");
  if (entry.dev === true || unneeded.test(name)) return false;
  if (name.startsWith(ENGINE_SCOPE)) return engineNames(engine, cpu).includes(name);
  const { os = ["linux"], cpu: cpus = [cpu], libc = ["glibc"] } = entry;
  return os.includes("linux") && cpus.includes(cpu) && libc.includes("glibc");
}

function engineNames(engine: EngineKind, cpu: string): string[] {
  const own = `${ENGINE_SCOPE}linux-${cpu}`;
  return engine === "cuda" ? [own, `${own}-cuda`, `${own}-cuda-ext`] : [own];
}

function trimmed<D extends Dependencies>(entry: D, names: ReadonlySet<string>): D {
  const only = (wanted: Readonly<Record<string, string>> | undefined) =>
    wanted &&
    Object.fromEntries(
      Object.entries(wanted).filter(([name]) => names.has(name) && !unneeded.test(name)),
    );
  const { dependencies, optionalDependencies, devDependencies: _dev, ...rest } = entry;
  return {
    ...rest,
    ...(dependencies && { dependencies: only(dependencies) }),
    ...(optionalDependencies && { optionalDependencies: only(optionalDependencies) }),
  } as D;
}

function rewrite<T>(path: string, change: (content: T) => T): void {
  const content = JSON.parse(readFileSync(path, "utf8")) as T;
  writeFileSync(path, `${JSON.stringify(change(content), null, 2)}\n`);
}

if (import.meta.main) {
  const engine = engines.find((kind) => kind === process.argv[2]);
  if (engine === undefined) throw new Error(`the engine is one of ${engines.join(", ")}`);
  const target = { engine, cpu: process.arch };
  rewrite<PackageLock>("package-lock.json", (lock) => engineLock(lock, target));
  rewrite<Dependencies>("package.json", enginePackage);
}
