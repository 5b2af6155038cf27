// Fetches a program as the package that Debian or Ubuntu offers, through the mirror that apt is
// configured for, in a private apt folder: no root, no change to the system, its package lists
// neither needed nor touched.
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import {
  type AptSource,
  parseDeb822,
  parseSourcesList,
  releaseSources,
  renderSources,
} from "./apt-sources.ts";

const run = promisify(execFile);

/** Bounds one apt command; the lists are some 10 MB, the package 5 MB. */
const APT_COMMAND_MAX_MS = 240_000;
/** The first with nats-server >= 2.10 and with kustomize, whose binaries run on the one before. */
const DEBIAN_RELEASE = { codename: "trixie", versionId: 13 };
const OUTPUT_MAX_BYTES = 1 << 20;

export interface DistributionPackageOptions {
  /** The package's name, e.g. nats-server, and in it the one file that is wanted. */
  readonly package: string;
  readonly file: string;
  /** Where temporary folders are made and the file ends up, under its own name. */
  readonly binDir: string;
  readonly etcDir?: string;
  readonly onProgress: (line: string) => void;
  /** Whether the binary is new enough to stop at; else the next release is tried too. */
  readonly isNewEnough: (path: string) => Promise<boolean>;
}

interface Distribution {
  readonly codename: string;
  /** Releases to try, best first. */
  readonly suites: readonly string[];
  readonly components: readonly string[];
}

/**
 * Puts the program into `binDir` and returns its path; undefined when this is no Debian or Ubuntu
 * or no mirror has it. Safe to run in two processes at once: the binary appears by rename.
 */
export async function fetchDistributionPackage(
  options: DistributionPackageOptions,
): Promise<string | undefined> {
  const etcDir = options.etcDir ?? "/etc";
  const distribution = await readDistribution(etcDir);
  if (distribution === undefined) return undefined;
  const sources = releaseSources(await readSources(etcDir), distribution.codename);
  if (sources.length === 0) {
    options.onProgress(`apt has no source for ${distribution.codename} main on this machine`);
    return undefined;
  }
  await mkdir(options.binDir, { recursive: true });
  let found: string | undefined;
  for (const suite of distribution.suites) {
    const rendered = renderSources(sources, suite, distribution.components);
    const path = await fetchFromSuite(options, suite, rendered);
    found = path ?? found;
    if (path !== undefined && (await options.isNewEnough(path))) return path;
  }
  return found;
}

async function readDistribution(etcDir: string): Promise<Distribution | undefined> {
  const text = await readFile(join(etcDir, "os-release"), "utf8").catch(() => "");
  const field = (name: string) =>
    new RegExp(`^${name}=["']?([^"'\\n]*)`, "m").exec(text)?.[1] ?? "";
  const codename = field("VERSION_CODENAME");
  if (codename === "") return undefined;
  if (field("ID") === "debian") {
    const older = Number(field("VERSION_ID") || "99") < DEBIAN_RELEASE.versionId;
    const both = older ? [DEBIAN_RELEASE.codename, codename] : [codename, DEBIAN_RELEASE.codename];
    return { codename, suites: [...new Set(both)], components: ["main"] };
  }
  if (field("ID") === "ubuntu") {
    return { codename, suites: [codename], components: ["main", "universe"] };
  }
  return undefined;
}

async function readSources(etcDir: string): Promise<AptSource[]> {
  const partsDir = join(etcDir, "apt/sources.list.d");
  const parts = (await readdir(partsDir).catch(() => []))
    .sort()
    .map((name) => join(partsDir, name));
  const sources: AptSource[] = [];
  for (const path of [join(etcDir, "apt/sources.list"), ...parts]) {
    const parse = path.endsWith(".list")
      ? parseSourcesList
      : path.endsWith(".sources")
        ? parseDeb822
        : undefined;
    if (parse !== undefined) sources.push(...parse(await readFile(path, "utf8").catch(() => "")));
  }
  return sources;
}

async function fetchFromSuite(
  { package: name, file, binDir, onProgress }: DistributionPackageOptions,
  suite: string,
  rendered: string,
): Promise<string | undefined> {
  const aptDir = await mkdtemp(join(binDir, ".apt-"));
  let updateOutput = "";
  try {
    const aptGet = await prepareApt(aptDir, rendered);
    onProgress(`fetching the package lists of ${suite}`);
    // One bad mirror among several must not stop the fetch: the download decides.
    updateOutput = await aptGet("update").catch((error: Error) => error.message);
    onProgress(`fetching ${name} from ${suite}`);
    await aptGet("download", name);
    const deb = (await readdir(aptDir)).find((name) => name.endsWith(".deb"));
    if (deb === undefined) throw new Error("apt-get download left no package");
    await run("dpkg-deb", ["-x", join(aptDir, deb), join(aptDir, "root")]);
    const path = join(binDir, basename(file));
    await rename(join(aptDir, "root", file), path);
    return path;
  } catch (error) {
    const lines = `${updateOutput}\n${error instanceof Error ? error.message : error}`.split("\n");
    const reason = lines.find((line) => /^[EW]: /.test(line)) ?? lines.at(-1) ?? "";
    onProgress(`${suite}: no ${name} (${reason.trim()})`);
    return undefined;
  } finally {
    await rm(aptDir, { recursive: true, force: true });
  }
}

/** Lays out a private apt folder and returns apt-get bound to it. */
async function prepareApt(aptDir: string, sources: string) {
  for (const dir of [
    "lists/partial",
    "cache/archives/partial",
    "sources",
    "preferences",
    "state",
  ]) {
    await mkdir(join(aptDir, dir), { recursive: true });
  }
  await writeFile(join(aptDir, "status"), "");
  await writeFile(join(aptDir, "sources/mirror.sources"), sources);
  const settings: Record<string, string> = {
    "Dir::State": join(aptDir, "state"),
    "Dir::State::Lists": join(aptDir, "lists"),
    "Dir::State::status": join(aptDir, "status"),
    "Dir::Cache": join(aptDir, "cache"),
    "Dir::Log": aptDir,
    "Dir::Etc::SourceList": "/dev/null",
    "Dir::Etc::SourceParts": join(aptDir, "sources"),
    "Dir::Etc::Preferences": "/dev/null",
    "Dir::Etc::PreferencesParts": join(aptDir, "preferences"),
    "APT::Sandbox::User": "root",
    "Acquire::Languages": "none",
    "Acquire::http::Timeout": "20",
    "Acquire::https::Timeout": "20",
    "Acquire::Retries": "2",
  };
  const lines = Object.entries(settings).map(([key, value]) => `${key} "${value}";`);
  // The system's own hooks look after the system's folders; they have no business here.
  lines.push("#clear APT::Update::Post-Invoke;", "#clear APT::Update::Post-Invoke-Success;");
  const configPath = join(aptDir, "apt.conf");
  await writeFile(configPath, `${lines.join("\n")}\n`);
  return async (...args: string[]): Promise<string> => {
    const { stdout, stderr } = await run("apt-get", ["-q", "-c", configPath, ...args], {
      cwd: aptDir,
      // Apt's signature checks need a temporary folder that this user can write to.
      env: { ...process.env, TMPDIR: aptDir, LC_ALL: "C" },
      timeout: APT_COMMAND_MAX_MS,
      maxBuffer: OUTPUT_MAX_BYTES,
    });
    return stdout + stderr;
  };
}
