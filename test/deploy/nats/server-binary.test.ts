// Finding nats-server: the order of places, the versions, and the fetch through a private archive
// in a folder that stands for the distribution's mirror.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import test from "ava";
import {
  findNatsServer,
  installCommand,
  isAtLeast,
  NatsServerMissing,
} from "../../../deploy/nats/server-binary.ts";

interface Machine {
  readonly root: string;
  readonly lines: string[];
  readonly options: Parameters<typeof findNatsServer>[0] & { readonly cacheDir: string };
}

/** A machine that has nothing: no PATH, no cache, no apt sources. */
async function bareMachine(): Promise<Machine> {
  const root = await mkdtemp(join(tmpdir(), "isthmus-bin-"));
  const lines: string[] = [];
  const options = {
    stateDir: join(root, "state"),
    cacheDir: join(root, "cache"),
    searchPath: join(root, "path"),
    etcDir: join(root, "etc"),
    onProgress: (line: string) => void lines.push(line),
  };
  return { root, lines, options };
}

async function placeServer(folder: string, version: string): Promise<string> {
  const path = join(folder, "nats-server");
  await mkdir(folder, { recursive: true });
  await writeFile(path, `#!/bin/sh\necho "nats-server: v${version}"\n`, { mode: 0o755 });
  return path;
}

test("a new enough server on the PATH is taken silently", async (t) => {
  const { root, lines, options } = await bareMachine();
  const path = await placeServer(join(root, "path"), "2.10.0");
  t.deepEqual(await findNatsServer(options), { path, version: "2.10.0" });
  t.deepEqual(lines, []);
  await rm(root, { recursive: true });
});

test("an old one on the PATH gives way to a new one in state folder or cache", async (t) => {
  for (const place of ["state/bin", "cache"]) {
    const { root, options } = await bareMachine();
    await placeServer(join(root, "path"), "2.9.10");
    const path = await placeServer(join(root, place), "2.11.4");
    t.deepEqual(await findNatsServer(options), { path, version: "2.11.4" });
    await rm(root, { recursive: true });
  }
});

test("2.9.10 is taken with a warning when nothing newer can be had; 2.9.9 isn't", async (t) => {
  const { root, lines, options } = await bareMachine();
  const path = await placeServer(join(root, "path"), "2.9.10");
  t.deepEqual(await findNatsServer(options), { path, version: "2.9.10" });
  t.regex(lines.at(-1) ?? "", /warning: nats-server 2\.9\.10 is old/);
  await placeServer(join(root, "path"), "2.9.9");
  await t.throwsAsync(findNatsServer(options), { instanceOf: NatsServerMissing });
  await rm(root, { recursive: true });
});

test("without any, the error ends with one command to run", async (t) => {
  const { root, options } = await bareMachine();
  const missing = await t.throwsAsync(findNatsServer(options), { instanceOf: NatsServerMissing });
  t.regex(missing?.message ?? "", /\n\n {4}\S.*nats-server.*\n$/);
  t.is(installCommand("darwin"), "brew install nats-server");
  t.regex(installCommand("linux"), /apt-get install/);
  await rm(root, { recursive: true });
});

test("a file that doesn't run as a server is passed over", async (t) => {
  const { root, options } = await bareMachine();
  await mkdir(join(root, "path"), { recursive: true });
  await writeFile(join(root, "path/nats-server"), "#!/bin/sh\nexit 1\n", { mode: 0o755 });
  const path = await placeServer(join(root, "cache"), "2.10.27");
  t.is((await findNatsServer(options)).path, path);
  await rm(root, { recursive: true });
});

test("versions compare by number", (t) => {
  t.true(isAtLeast("2.10.0", "2.9.10"));
  t.true(isAtLeast("2.9.10", "2.9.10"));
  t.false(isAtLeast("2.9.9", "2.9.10"));
  t.true(isAtLeast("10.0.0", "9.9.9"));
});

// The rest needs apt itself, as on every Debian and Ubuntu.
if (existsSync("/usr/bin/apt-get")) {
  test("on Debian the configured mirror gives it, and the system stays as it was", async (t) => {
    const { root, lines, options } = await bareMachine();
    await makeDebian(root, { trixie: "2.10.27" });
    const systemLists = (await stat("/var/lib/apt/lists").catch(() => undefined))?.mtimeMs;
    const found = await findNatsServer(options);
    t.deepEqual(found, { path: join(options.cacheDir, "nats-server"), version: "2.10.27" });
    t.true(lines.some((line) => line.includes("fetching nats-server from trixie")));
    t.deepEqual(await readdir(options.cacheDir), ["nats-server"], "nothing else is left");
    t.is((await stat("/var/lib/apt/lists").catch(() => undefined))?.mtimeMs, systemLists);
    lines.length = 0;
    t.deepEqual(await findNatsServer(options), found);
    t.deepEqual(lines, [], "the second time it is simply there");
    await rm(root, { recursive: true });
  });

  test("where the newer release can't be read, the machine's own is taken", async (t) => {
    const { root, lines, options } = await bareMachine();
    await makeDebian(root, { bookworm: "2.9.10" });
    t.is((await findNatsServer(options)).version, "2.9.10");
    t.true(lines.some((line) => line.startsWith("trixie: no nats-server")));
    await rm(root, { recursive: true });
  });

  test("two processes that fetch at once both get a whole binary", async (t) => {
    const { root, options } = await bareMachine();
    await makeDebian(root, { trixie: "2.10.27" });
    const found = await Promise.all([findNatsServer(options), findNatsServer(options)]);
    t.deepEqual(found[0], found[1]);
    t.deepEqual(await readdir(options.cacheDir), ["nats-server"]);
    await rm(root, { recursive: true });
  });

  test("with a cache that can't be written, the state folder takes it", async (t) => {
    const { root, options } = await bareMachine();
    await makeDebian(root, { trixie: "2.10.27" });
    await writeFile(join(root, "cache"), "a file where the folder should be");
    t.is((await findNatsServer(options)).path, join(options.stateDir, "bin/nats-server"));
    await rm(root, { recursive: true });
  });
}

/** Makes `root/etc` that of a Debian 12 whose mirror is an archive in `root/mirror`. */
async function makeDebian(root: string, releases: Readonly<Record<string, string>>): Promise<void> {
  await mkdir(join(root, "etc/apt/sources.list.d"), { recursive: true });
  await writeFile(
    join(root, "etc/os-release"),
    'ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n',
  );
  await writeFile(
    join(root, "etc/apt/sources.list.d/debian.sources"),
    `Types: deb\nURIs: file:${root}/mirror\nSuites: bookworm\nComponents: main\nTrusted: yes\n`,
  );
  for (const [suite, version] of Object.entries(releases)) await addRelease(root, suite, version);
}

async function addRelease(root: string, suite: string, version: string): Promise<void> {
  const architecture = execFileSync("dpkg", ["--print-architecture"], { encoding: "utf8" }).trim();
  const tree = join(root, `tree-${suite}`);
  await placeServer(join(tree, "usr/sbin"), version);
  const control =
    `Package: nats-server\nVersion: ${version}-1\nArchitecture: ${architecture}\n` +
    "Maintainer: nobody <nobody@example.org>\nDescription: a stand-in\n";
  await mkdir(join(tree, "DEBIAN"));
  await writeFile(join(tree, "DEBIAN/control"), control);
  const file = `pool/${suite}/nats-server.deb`;
  const deb = join(root, "mirror", file);
  await mkdir(dirname(deb), { recursive: true });
  execFileSync("dpkg-deb", ["--root-owner-group", "-b", tree, deb], { stdio: "ignore" });
  const bytes = await readFile(deb);
  const index =
    `${control}Filename: ${file}\nSize: ${bytes.length}\n` +
    `SHA256: ${createHash("sha256").update(bytes).digest("hex")}\n`;
  const dist = join(root, "mirror/dists", suite);
  const packages = `main/binary-${architecture}/Packages`;
  await mkdir(dirname(join(dist, packages)), { recursive: true });
  await writeFile(join(dist, packages), index);
  const hash = createHash("sha256").update(index).digest("hex");
  await writeFile(
    join(dist, "Release"),
    `Codename: ${suite}\nSuite: ${suite}\nComponents: main\nArchitectures: ${architecture}\n` +
      `Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n ${hash} ${index.length} ${packages}\n`,
  );
}
