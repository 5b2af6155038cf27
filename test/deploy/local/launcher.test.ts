// The launcher as a process: what it prints, how it exits, and that nothing outlives it.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import test from "ava";
import { sendSignal } from "../../../deploy/local/process-identity.ts";
import { eventually } from "../../support/eventually.ts";
import { type FakePlace, fakePlace } from "./fake-mesh.ts";

/** Generous: other test files share the two cores. */
const READY_MAX_MS = 90_000;
const program = join(import.meta.dirname, "fake-launcher.ts");

interface Launched {
  readonly child: ChildProcess;
  readonly exited: Promise<unknown>;
  output(): string;
}

function launch(args: readonly string[]): Launched {
  const child = spawn(process.execPath, [program, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  child.stdout.on("data", (chunk) => (output += chunk));
  child.stderr.on("data", (chunk) => (output += chunk));
  return { child, exited: once(child, "exit"), output: () => output };
}

async function launchMesh({ dir, options }: FakePlace): Promise<Launched> {
  const launched = launch([
    ...["--dir", dir, "--regions", options.regions.join(",")],
    ...["--edges", String(options.edges), "--port-base", String(options.portBase)],
  ]);
  await eventually("the mesh is ready", () => launched.output().includes("Ready in"), READY_MAX_MS);
  return launched;
}

/** The groups that live: a group outlasts its leader while any child of it runs. */
const livingGroups = (pids: readonly number[]) =>
  pids.filter((pid) => sendSignal(pid, "SIGCONT", true));

async function finished(launched: Launched): Promise<number | null> {
  await launched.exited;
  return launched.child.exitCode;
}

test.serial("Ctrl-C stops everything, prints nothing alarming and exits with 0", async (t) => {
  await using place = await fakePlace(["us", "eu"]);
  const launched = await launchMesh(place);
  const pids = (await place.state()).processes.map(({ pid }) => pid);
  t.is(pids.length, 6 + 1 + 2 + 2);
  t.is(livingGroups(pids).length, pids.length);
  launched.child.kill("SIGINT");
  // Under npm the same Ctrl-C comes twice: from the terminal, and passed on.
  await eventually("it is stopping", () => launched.output().includes("stopping"));
  launched.child.kill("SIGINT");
  t.is(await finished(launched), 0, launched.output());
  t.deepEqual(livingGroups(pids), []);
  t.notRegex(launched.output(), /ended|Error/);
});

for (const edges of [1, 2]) {
  test.serial(`kill -9 of the launcher leaves no process (${edges} edges a region)`, async (t) => {
    await using place = await fakePlace(["us"], edges);
    const launched = await launchMesh(place);
    const pids = (await place.state()).processes.map(({ pid }) => pid);
    if (edges === 2) sendSignal(pids.at(-1) as number, "SIGSTOP"); // frozen: notices nothing
    launched.child.kill("SIGKILL");
    await launched.exited;
    await eventually("all are gone", () => livingGroups(pids).length === 0);
    t.deepEqual(await place.state(), { processes: [], ready: false });
    const again = await launchMesh(place);
    again.child.kill("SIGTERM");
    t.is(await finished(again), 0, "the folder and ports are free for the next start");
  });
}

test.serial("the table names every endpoint and what to try next", async (t) => {
  await using place = await fakePlace(["us", "eu"]);
  const launched = await launchMesh(place);
  for (const { http, grpc, role } of (await place.state()).processes) {
    if (role === "nats") continue;
    t.true(launched.output().includes(http ?? "none"), http);
    t.true(launched.output().includes(grpc ?? "none"), grpc);
  }
  for (const step of ["curl ", "OPENAI_BASE_URL=", "isthmus chat", "isthmus rounds start"]) {
    t.true(launched.output().includes(step), step);
  }
  launched.child.kill("SIGINT");
  await launched.exited;
});

test.serial(
  "a role killed by hand is reported, with the option that would restart it",
  async (t) => {
    await using place = await fakePlace(["us"]);
    const launched = await launchMesh(place);
    const edge = (await place.state()).processes.find(({ name }) => name === "us-1");
    sendSignal(edge?.pid ?? 0, "SIGKILL");
    await eventually("it is told", () =>
      /us-1 ended \(SIGKILL\).*--restart/.test(launched.output()),
    );
    launched.child.kill("SIGINT");
    t.is(await finished(launched), 0);
  },
);

const wrong: readonly (readonly [args: string[], message: RegExp])[] = [
  [["--port", "1"], /--port/],
  [["extra"], /extra/],
  [["--edges", "many"], /--edges: "many" is no whole number/],
  [["--edges", "0"], /--edges: must be/],
  [["--edges", "21"], /--edges: must be/],
  [["--regions", "us,US"], /--regions: "US"/],
  [["--regions", "us,us"], /"us" is named twice/],
  [["--regions", ""], /--regions: ""/],
  [["--regions", "central"], /"central"/],
  [["--port-base", "80"], /--port-base/],
  [["--port-base", "65500"], /--port-base/],
  [["--dir", ""], /--dir: needs a value/],
  [["--model", ""], /--model: needs a value/],
];

test("a wrong option exits with 2 and a message that names it", async (t) => {
  t.timeout(120_000);
  for (const [args, message] of wrong) {
    const launched = launch(args);
    t.is(await finished(launched), 2, args.join(" "));
    t.regex(launched.output(), message);
    t.notRegex(launched.output(), / at .*\.ts/, "no stack trace for a typing error");
  }
});

test("--help names every option and exits with 0", async (t) => {
  const launched = launch(["--help"]);
  t.is(await finished(launched), 0);
  const names = ["dir", "regions", "edges", "model", "port-base", "restart", "help"];
  for (const name of names) t.true(launched.output().includes(`--${name}`), name);
});

test("a taken port exits with 1, naming the port and --port-base", async (t) => {
  await using place = await fakePlace(["us"]);
  await using squatted = await fakePlace(["us"]);
  // The guard of a reserved block listens just below it.
  const launched = launch([
    "--dir",
    place.dir,
    "--port-base",
    String(squatted.options.portBase - 1),
  ]);
  t.is(await finished(launched), 1);
  t.regex(launched.output(), new RegExp(`port ${squatted.options.portBase - 1} .*--port-base`));
});
