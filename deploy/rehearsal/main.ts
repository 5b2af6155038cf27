// `deploy/rehearse`: runs a rehearsal and says what it came to. Imports nothing but Node and this
// repository's own plain modules, so that it runs where no package was ever installed.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { systemClock } from "../../runtime/clock.ts";
import { markdownTable, textTable } from "./cost-table.ts";
import { type Docker, DockerMissing, findDocker } from "./docker.ts";
import { helpText, OptionError, type Options, readOptions } from "./options.ts";
import { rehearse, takeDown } from "./rehearsal.ts";
import type { RehearsalReport } from "./report.ts";

const EXIT_MISSED = 1;
const EXIT_USAGE = 2;
const BUILD_MAX_MS = 1_200_000;
/** However slow the machine is. */
const WHOLE_MAX_MS = 3_600_000;
const MS_A_SECOND = 1000;

const repository = resolve(import.meta.dirname, "../..");
const logDir = join(repository, ".isthmus", "rehearsal-logs");
const project = { name: "isthmus-rehearsal", file: join(repository, "deploy", "compose.yaml") };
const startedMs = systemClock.monotonicMs();

process.exitCode = await main();

async function main(): Promise<number> {
  let options: Options;
  try {
    options = readOptions(process.argv.slice(2));
  } catch (thrown) {
    if (!(thrown instanceof OptionError)) throw thrown;
    process.stderr.write(`rehearse: ${thrown.message}\n`);
    return EXIT_USAGE;
  }
  if (options.help) {
    process.stdout.write(helpText);
    return 0;
  }
  const say = (line: string): void => {
    const seconds = Math.round((systemClock.monotonicMs() - startedMs) / MS_A_SECOND);
    const stream = options.json ? process.stderr : process.stdout;
    stream.write(`${String(seconds).padStart(5)} s  ${line}\n`);
  };
  try {
    const docker = await findDocker(project);
    return await withMesh(docker, options, say);
  } catch (thrown) {
    const { message } = thrown as Error;
    process.stderr.write(`rehearse: ${message}\n`);
    return thrown instanceof DockerMissing ? EXIT_USAGE : EXIT_MISSED;
  }
}

async function withMesh(
  docker: Docker,
  options: Options,
  say: (line: string) => void,
): Promise<number> {
  const stopping = new AbortController();
  const stop = () => stopping.abort(new Error("told to stop"));
  process.once("SIGINT", stop);
  process.once("SIGTERM", stop);
  const limit = systemClock.after(WHOLE_MAX_MS, () =>
    stopping.abort(new Error(`not over within ${WHOLE_MAX_MS / MS_A_SECOND} s`)),
  );
  let isGood = false;
  try {
    if (options.build) await build(docker, say);
    await takeDown(docker); // what an earlier one has left
    const { signal } = stopping;
    const report = await rehearse({ docker, faults: options.faults, say, signal });
    isGood = report.missed.length === 0;
    tell(report, options);
    return isGood ? 0 : EXIT_MISSED;
  } finally {
    limit.cancel();
    if (!isGood) await keepLogs(docker, say);
    if (options.keep) say("the mesh is left running: docker compose -p isthmus-rehearsal down -v");
    else await takeDown(docker);
  }
}

async function build(docker: Docker, say: (line: string) => void): Promise<void> {
  say("building the image");
  // The classic builder has no other way to the packages than the host's network.
  const network = process.env.DOCKER_BUILDKIT === "0" ? ["--network", "host"] : [];
  const file = join(repository, "deploy", "image", "Dockerfile");
  const name = process.env.ISTHMUS_IMAGE ?? "isthmus";
  const words = ["build", "-q", ...network, "-f", file, "-t", name, repository];
  await docker.run(words, { timeoutMs: BUILD_MAX_MS });
}

function tell(report: RehearsalReport, { json }: Options): void {
  if (json) {
    process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
    return;
  }
  const { streams, complete, tokens, refusals, ttftP50Ms, ttftP99Ms, costs, missed } = report;
  const lines = [
    "",
    `${streams} streams, ${complete} complete, ${tokens} tokens; TTFT p50 ${ttftP50Ms} ms, ` +
      `p99 ${ttftP99Ms} ms; ${refusals} refusals, each tried again`,
    "",
    textTable(costs),
    "",
    markdownTable(costs),
    "",
    ...(missed.length === 0 ? [allIsWell(streams - complete)] : missed),
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
}

function allIsWell(fell: number): string {
  const but = fell === 0 ? "" : ` but ${fell} whose own door was killed`;
  return `nothing acknowledged was lost, every stream is complete${but}`;
}

async function keepLogs(docker: Docker, say: (line: string) => void): Promise<void> {
  rmSync(logDir, { recursive: true, force: true });
  mkdirSync(logDir, { recursive: true });
  for (const [service, id] of await docker.containers()) {
    const text = await docker.logs(id);
    writeFileSync(join(logDir, `${service}.log`), text);
  }
  say(`the containers' logs are in ${logDir}`);
}
