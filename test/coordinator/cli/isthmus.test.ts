// The `isthmus` command as operators run it: a child process against a real coordinator.
import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import test from "ava";
import type { CampaignState } from "../../../coordinator/rounds/campaign-state.ts";
import { startFrontends } from "../../support/frontend-servers.ts";
import { createScriptedBackend } from "../../support/scripted-backend.ts";
import { startDemoMesh } from "../demo-mesh.ts";

const launcher = resolve(import.meta.dirname, "../../../coordinator/cli/isthmus.mjs");

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function isthmus(cwd: string, ...args: string[]): Promise<Ran> {
  const { ISTHMUS_COORDINATOR: _, ...env } = process.env;
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [launcher, ...args],
      { cwd, env },
      (error, out, err) => {
        resolve({ code: error === null ? 0 : Number(child.exitCode ?? -1), out, err });
      },
    );
    child.stdin?.end();
  });
}

test("an operator publishes, rolls out, trains, watches and rolls back", async (t) => {
  const evaluate = (version: string, isPublic: boolean) => {
    return isPublic ? 97 : version === "demo@1" ? 2 : 88;
  };
  const { dir, coordinator } = await startDemoMesh(t, { evaluate });
  // A folder below the one with the mesh file, as the launcher leaves it.
  const cwd = join(dir, "deep", "er");
  mkdirSync(cwd, { recursive: true });
  mkdirSync(join(dir, ".isthmus"));
  const processes = [{ role: "coordinator", name: "coordinator", pid: 1, http: coordinator.http }];
  writeFileSync(join(dir, ".isthmus", "mesh.json"), JSON.stringify({ processes, ready: true }));

  const status = await isthmus(cwd, "status");
  t.is(status.code, 0, status.err);
  t.regex(status.out, /^us +reachable +2 of 2/m);
  t.regex(status.out, /^demo +demo@1 +1 +4 serving/m);
  const edges = await isthmus(cwd, "edges", "ls", "--region", "eu", "--json");
  t.deepEqual(
    (JSON.parse(edges.out) as { edge: string }[]).map(({ edge }) => edge),
    ["eu-1", "eu-2"],
  );

  const knobs = ["--rank", "2", "--alpha", "4", "--lr", "1.5,1"];
  const rounds = await isthmus(cwd, "rounds", "start", "demo", "--wait", "--rounds", "2", ...knobs);
  t.is(rounds.code, 0, rounds.err);
  t.regex(rounds.out, /^before: home 97 %, dialect-eu 2 %, dialect-us 2 %$/m);
  t.regex(
    rounds.out,
    /^round 1 of 2: promoted; demo@2; 4 included; loss 2\.000 → 1\.000; 256 B; /m,
  );
  t.regex(rounds.out, /^home +public, must keep +100 +97\.0 +97\.0 +\+0\.0$/m);
  t.regex(rounds.out, /^dialect-us +private +200 +2\.0 +88\.0 +\+86\.0$/m);
  t.false(rounds.out.includes("\u001b"));
  const ended = JSON.parse((await isthmus(cwd, "rounds", "ls", "--json")).out) as CampaignState[];
  const shown = await isthmus(cwd, "rounds", "show", ended[0]!.id, "2");
  t.regex(shown.out, /^us +us-2 +included +10 /m);
  const plan = await isthmus(cwd, "rounds", "show", ended[0]!.id);
  t.regex(plan.out, /server: fedavg at 1\.5, then 1$/m);

  const lineage = await isthmus(cwd, "models", "ls", "demo");
  t.regex(lineage.out, /^demo@3 \* +demo@2 +demo-\d+ round 2, 4 edges +accepted/m);
  const back = await isthmus(cwd, "models", "rollback", "demo", "--wait");
  t.is(back.code, 0, back.err);
  t.regex(back.out, /^demo@2: 4 serving$/m);

  const file = join(cwd, "new.gguf");
  writeFileSync(file, Buffer.alloc(9_000_000, 7));
  const published = await isthmus(cwd, "models", "publish", "demo", "--file", "new.gguf");
  t.is(published.code, 0, published.err);
  t.regex(published.out, /^new\.gguf: 100 % of 9\.0 MB uploaded$/m);
  t.regex(published.out, /^published demo@4$/m);
  const rolled = await isthmus(cwd, "models", "rollout", "demo", "4", "--wait");
  t.regex(rolled.out, /^demo@4: 4 serving$/m);
  const again = await isthmus(cwd, "rounds", "start", "nothing");
  t.is(again.code, 1);
  t.is(again.err, "there is no model nothing\n");
});

test("chat streams the answer and says who gave it", async (t) => {
  const backend = createScriptedBackend();
  backend.reply = () => ["Hello", " there", "."];
  const gateway = await startFrontends(backend);
  t.teardown(() => gateway.stop());
  const cwd = import.meta.dirname;
  const chat = await isthmus(cwd, "chat", "--url", gateway.http, "hi");
  t.is(chat.code, 0, chat.err);
  t.is(chat.out, "Hello there.\n");
  t.regex(chat.err, /^scripted@1 on \S+ \(\S+\), TTFT \d+ ms/);
  t.is(backend.requests.length, 1);
  const wrong = await isthmus(cwd, "chat", "--url", gateway.http, "--model", "none", "hi");
  t.is(wrong.code, 1);
  t.regex(wrong.err, /none/);
  const silent = await isthmus(cwd, "chat", "--url", gateway.http);
  t.is(silent.code, 2);
});

test("a wrong command line is told in one line, with the way out, and exits with 2", async (t) => {
  const cases: [string[], RegExp][] = [
    [
      ["launch"],
      /^isthmus: there is no `isthmus launch` \(status, models, edges, data, rounds, .*\)\n/,
    ],
    [["rounds", "begin"], /^isthmus: there is no `isthmus rounds begin`/],
    [["--version"], /^isthmus: unknown option --version\n/],
    [
      ["models", "rollout", "m"],
      /^isthmus models rollout: VERSION is missing\nRun `isthmus models /,
    ],
    [["models", "publish", "m"], /^isthmus models publish: --file is missing\n/],
    [["rounds", "start", "m", "--rounds", "x"], /--rounds must be a number, not "x"/],
    [["rounds", "start", "m", "--lr", "1,x"], /--lr must be a number, not "x"/],
    [["status", "--colour"], /^isthmus status: Unknown option '--colour'\n/],
    [["status", "now"], /^isthmus status: unexpected now\n/],
    [["status", "--coordinator", "ftp://x"], /--coordinator must be http:\/\/host:port/],
    [["status", "--dir", "/nowhere"], /^isthmus: there is no mesh\.json in \/nowhere\n/],
  ];
  for (const [args, expected] of cases) {
    const { code, out, err } = await isthmus("/", ...args);
    t.is(code, 2, args.join(" "));
    t.is(out, "");
    t.regex(err, expected);
    t.true(err.trim().split("\n").length <= 2, err);
  }
  const away = await isthmus("/", "status", "--coordinator", "http://127.0.0.1:9");
  t.is(away.code, 1);
  t.is(away.err, "the coordinator at http://127.0.0.1:9 does not answer\n");
});

test("help is there on every level, with examples", async (t) => {
  for (const words of [[], ["rounds"], ["rounds", "start"], ["models", "publish"], ["chat"]]) {
    const { code, out } = await isthmus("/", ...words, "--help");
    t.is(code, 0);
    t.regex(out, new RegExp(`^Usage: ${["isthmus", ...words].join(" ")}`, "m"));
    if (words.length !== 1 || words[0] === "chat") t.regex(out, /^Examples:$/m);
  }
});
