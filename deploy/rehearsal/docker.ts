// Docker as this rehearsal uses it: the engine's command, and whichever compose there is.
import { execFile, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

const RUN_MAX_MS = 60_000;
const OUTPUT_BYTES_MAX = 64 << 20;
const KILLED_BY_TIMEOUT = "SIGKILL";

/** No engine answers, or there is no compose: nothing to rehearse on. */
export class DockerMissing extends Error {
  override readonly name = "DockerMissing";
}

export interface RunOptions {
  readonly timeoutMs?: number;
  readonly env?: Readonly<Record<string, string>>;
}

export interface ComposeProject {
  readonly name: string;
  readonly file: string;
}

const exec = promisify(execFile);

export class Docker {
  readonly project: ComposeProject;
  readonly #compose: readonly string[];

  constructor(project: ComposeProject, compose: readonly string[]) {
    this.project = project;
    this.#compose = compose;
  }

  /** `docker ...`; what it says on stdout. Faults: an Error with what it said on stderr. */
  run(args: readonly string[], options: RunOptions = {}): Promise<string> {
    return runProgram("docker", args, options);
  }

  /** Compose on the project, load generators included. */
  compose(args: readonly string[], options: RunOptions = {}): Promise<string> {
    const [program = "", ...words] = this.#compose;
    const { name, file } = this.project;
    const all = [...words, "-p", name, "-f", file, "--profile", "load", ...args];
    return runProgram(program, all, options);
  }

  /** The id of each service's container, running or not. */
  async containers(): Promise<Map<string, string>> {
    const label = "com.docker.compose";
    const filters = [`label=${label}.project=${this.project.name}`, `label=${label}.oneoff=False`];
    const format = `{{.Label "${label}.service"}} {{.ID}}`;
    const words = filters.flatMap((filter) => ["--filter", filter]);
    return pairs(await this.run(["ps", "-a", ...words, "--format", format]));
  }

  /** The engine's name of each of the project's networks. */
  async networks(): Promise<Map<string, string>> {
    const label = "com.docker.compose";
    const filter = `label=${label}.project=${this.project.name}`;
    const format = `{{.Label "${label}.network"}} {{.Name}}`;
    return pairs(await this.run(["network", "ls", "--filter", filter, "--format", format]));
  }

  /** What a container has printed, on both of its outputs. */
  async logs(container: string): Promise<string> {
    const { stdout, stderr } = await exec("docker", ["logs", container], {
      timeout: RUN_MAX_MS,
      maxBuffer: OUTPUT_BYTES_MAX,
    });
    return stdout + stderr;
  }

  /** Every line that a container prints on stdout, from its first one, until it ends. */
  follow(container: string, onLine: (line: string) => void): { readonly ended: Promise<void> } {
    const child = spawn("docker", ["logs", "-f", container], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const lines = createInterface({ input: child.stdout });
    lines.on("line", onLine);
    const ended = new Promise<void>((resolve, reject) => {
      child.on("error", reject);
      lines.on("close", resolve);
    });
    return { ended };
  }
}

/** Faults: DockerMissing, with what to do. */
export async function findDocker(project: ComposeProject): Promise<Docker> {
  try {
    await runProgram("docker", ["info", "--format", "{{.ServerVersion}}"], {});
  } catch (thrown) {
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    throw new DockerMissing(`no Docker engine answers (${why}): start one, or set DOCKER_HOST`);
  }
  for (const compose of [["docker", "compose"], ["docker-compose"]]) {
    const [program = "", ...words] = compose;
    try {
      await runProgram(program, [...words, "version"], {});
      return new Docker(project, compose);
    } catch {
      // the other one, then
    }
  }
  throw new DockerMissing("neither `docker compose` nor `docker-compose` is installed");
}

async function runProgram(
  program: string,
  args: readonly string[],
  { timeoutMs = RUN_MAX_MS, env = {} }: RunOptions,
): Promise<string> {
  try {
    const { stdout } = await exec(program, [...args], {
      timeout: timeoutMs,
      killSignal: KILLED_BY_TIMEOUT,
      maxBuffer: OUTPUT_BYTES_MAX,
      env: { ...process.env, ...env },
    });
    return stdout.trim();
  } catch (thrown) {
    const { stdout = "", stderr = "", killed } = thrown as Partial<Record<string, string>>;
    const said = killed ? `took more than ${timeoutMs} ms` : `${stderr}${stdout}`.trim();
    const what = `${program} ${args.join(" ")}`;
    throw new Error(`${what}: ${said || String(thrown)}`, { cause: thrown });
  }
}

function pairs(text: string): Map<string, string> {
  const lines = text.split("\n").filter((line) => line !== "");
  return new Map(lines.map((line) => line.split(" ") as [string, string]));
}
