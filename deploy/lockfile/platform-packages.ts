// Keeps package-lock.json whole where the registry at hand doesn't carry every platform: npm then
// leaves the binaries of other platforms out of the file, and `npm ci` refuses it everywhere.

/** An entry of package-lock.json's `packages`. */
export interface LockedPackage {
  readonly version?: string;
  readonly resolved?: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly os?: readonly string[];
  readonly cpu?: readonly string[];
  readonly libc?: readonly string[];
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

export interface Lockfile {
  readonly packages: Readonly<Record<string, LockedPackage>>;
}

const systems: Readonly<Record<string, string>> = {
  android: "android",
  darwin: "darwin",
  freebsd: "freebsd",
  linux: "linux",
  mac: "darwin",
  openbsd: "openbsd",
  win: "win32",
  win32: "win32",
};
const processors: Readonly<Record<string, string>> = {
  arm64: "arm64",
  armv7: "arm",
  armv7l: "arm",
  ia32: "ia32",
  loong64: "loong64",
  riscv64: "riscv64",
  x64: "x64",
};

/** Optional packages that some package names and the file doesn't hold: name → entry. */
export function missingPlatformPackages({ packages }: Lockfile): Map<string, LockedPackage> {
  const missing = new Map<string, LockedPackage>();
  for (const { optionalDependencies = {}, dev } of Object.values(packages)) {
    for (const [name, version] of Object.entries(optionalDependencies)) {
      if (packages[`node_modules/${name}`] !== undefined) continue;
      if (!/^\d+\.\d+\.\d+/.test(version)) continue; // a range names no one version
      missing.set(name, platformEntry(name, version, dev === true));
    }
  }
  return missing;
}

/** The lock with those entries in it, in npm's order; without a hash, as nobody has seen one. */
export function completeLockfile<L extends Lockfile>(lock: L): L {
  const added = [...missingPlatformPackages(lock)].map(
    ([name, entry]) => [`node_modules/${name}`, entry] as const,
  );
  const entries = [...Object.entries(lock.packages), ...added];
  entries.sort(([a], [b]) => a.localeCompare(b, "en"));
  return { ...lock, packages: Object.fromEntries(entries) };
}

function platformEntry(name: string, version: string, dev: boolean): LockedPackage {
  const words = name.split(/[/@-]/);
  const find = (table: Readonly<Record<string, string>>) =>
    words.flatMap((word) => table[word] ?? []).slice(0, 1);
  const [os, cpu] = [find(systems), find(processors)];
  const libc = words.includes("musl") ? ["musl"] : [];
  return {
    version,
    ...(cpu.length > 0 ? { cpu } : {}),
    ...(dev ? { dev } : {}),
    ...(libc.length > 0 ? { libc } : {}),
    optional: true,
    ...(os.length > 0 ? { os } : {}),
  };
}
