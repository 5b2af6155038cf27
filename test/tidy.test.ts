// Enforces the habits that a reader relies on: which folder may import which, file sizes, opening
// comments, no dead files, and no clock, randomness, timer, environment or console outside the
// adapters that own them.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import test, { type ExecutionContext } from "ava";

const root = resolve(import.meta.dirname, "..");
const folders = [
  "proto",
  "runtime",
  "sync",
  "edge-node",
  "region",
  "coordinator",
  "client",
  "deploy",
  "test",
] as const;

/** What each folder may import besides itself. */
const mayImport: Record<string, readonly string[]> = {
  proto: [],
  runtime: ["proto"],
  sync: ["proto", "runtime"],
  "edge-node": ["proto", "runtime", "sync"],
  region: ["proto", "runtime", "sync"],
  coordinator: ["proto", "runtime", "sync"],
  client: ["proto", "runtime", "sync"],
  deploy: folders,
  test: folders,
};

const linesMax = 300;
const testLinesMax = 600;
const columnsMax = 100;
const bannedNames = ["utils", "util", "helpers", "helper", "common", "misc", "types"];

interface Ban {
  readonly pattern: RegExp;
  readonly what: string;
  /** Files or folders that own the effect. */
  readonly owners: readonly string[];
}

const bans: readonly Ban[] = [
  { pattern: /\bDate\.now\(|new Date\(\)/, what: "the wall clock", owners: ["runtime/clock.ts"] },
  { pattern: /\bMath\.random\(/, what: "global randomness", owners: ["runtime/random.ts"] },
  { pattern: /\bset(Timeout|Interval)\(/, what: "timers", owners: ["runtime/clock.ts"] },
  {
    pattern: /\bprocess\.env\b/,
    what: "the environment",
    owners: ["coordinator/cli", "edge-node/engine/llama/engine-child.ts"],
  },
  { pattern: /\bconsole\.\w+\(/, what: "the console", owners: ["coordinator/cli"] },
];

function listSources(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .filter((path) => !path.startsWith("proto/gen/"))
    .sort();
}

const files = folders.flatMap((folder) => {
  try {
    return listSources(folder);
  } catch {
    return [];
  }
});
const sources = new Map(files.map((path) => [path, readFileSync(join(root, path), "utf8")]));

function importsOf(path: string, text: string): string[] {
  const specifiers = text.matchAll(/(?:from|import|import\()\s*"(\.[^"]+)"/g);
  return [...specifiers].map((match) => relative(root, resolve(root, dirname(path), match[1]!)));
}

/** Strips comments and strings, so that prose about timers is not a timer. */
function codeOf(text: string): string {
  return text
    .replace(/\/\*[\s\S]*?\*\//g, "")
    .replace(/(^|[^:"'`])\/\/.*$/gm, "$1")
    .replace(/"(?:[^"\\\n]|\\.)*"/g, '""');
}

/** Fails with every problem at once, so that one run is enough to mend them all. */
function expectNone(t: ExecutionContext, problems: readonly string[]): void {
  t.is(problems.length, 0, `\n${problems.join("\n")}`);
}

test("each folder imports only the folders below it", (t) => {
  const problems: string[] = [];
  for (const [path, text] of sources) {
    const folder = path.split("/")[0]!;
    for (const target of importsOf(path, text)) {
      const targetFolder = target.split("/")[0]!;
      const allowed = targetFolder === folder || mayImport[folder]!.includes(targetFolder);
      if (!allowed) problems.push(`${path} may not import ${target}`);
    }
  }
  expectNone(t, problems);
});

test("each file is short, opens with what it is for, and has a name of its own", (t) => {
  const problems: string[] = [];
  for (const [path, text] of sources) {
    const lines = text.split("\n");
    const allowed = path.startsWith("test/") ? testLinesMax : linesMax;
    if (lines.length > allowed) problems.push(`${path} has ${lines.length} lines of ${allowed}`);
    if (!/^(\/\/|\/\*\*|#!)/.test(lines[0]!))
      problems.push(`${path} must open with what it is for`);
    const name = path.split("/").at(-1)!.replace(/\.ts$/, "");
    if (bannedNames.includes(name)) problems.push(`${path} needs a name that says what it holds`);
    const long = lines.findIndex((line) => line.length > columnsMax);
    if (long >= 0) problems.push(`${path}:${long + 1} is longer than ${columnsMax} columns`);
  }
  expectNone(t, problems);
});

test("effects stay in the adapters that own them", (t) => {
  const problems: string[] = [];
  for (const [path, text] of sources) {
    if (path.startsWith("test/") || path.startsWith("deploy/")) continue;
    const code = codeOf(text);
    for (const ban of bans) {
      if (ban.owners.some((owner) => path.startsWith(owner))) continue;
      if (ban.pattern.test(code))
        problems.push(`${path} uses ${ban.what}; take it from its adapter`);
    }
  }
  expectNone(t, problems);
});

test("no source is dead: each is imported, tested or an entry point", (t) => {
  const imported = new Set([...sources].flatMap(([path, text]) => importsOf(path, text)));
  const allText = [...sources.values(), readFileSync(join(root, "package.json"), "utf8")].join(
    "\n",
  );
  const problems: string[] = [];
  for (const path of sources.keys()) {
    if (/\.test\.ts$|(^|\/)(main|index|build)\.ts$/.test(path) || imported.has(path)) continue;
    const name = path.split("/").at(-1)!;
    const isSpawned = allText.includes(`/${name}"`) || allText.includes(`"${name}"`);
    if (!isSpawned) problems.push(`nothing uses ${path}`);
  }
  expectNone(t, problems);
});
