// A real edge as a child process, for tests: started from a configuration, asked over its
// addresses, stopped or killed by its process id.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";

type JsonObject = Readonly<Record<string, unknown>>;

const MAIN = join(import.meta.dirname, "../../edge-node/main.ts");
const LAST_WORDS_MAX = 20_000;

export class EdgeProcess {
  readonly dir: string;
  readonly http: string;
  readonly grpc: string;
  readonly #child: ChildProcess;
  readonly #words: { text: string };

  private constructor(
    dir: string,
    child: ChildProcess,
    words: { text: string },
    addresses: { http: string; grpc: string },
  ) {
    this.dir = dir;
    this.#child = child;
    this.#words = words;
    this.http = addresses.http;
    this.grpc = addresses.grpc;
  }

  /** Resolves once it listens. `dir` is made when none is given. */
  static async start(config: JsonObject, dir?: string): Promise<EdgeProcess> {
    const home = dir ?? (await mkdtemp(join(tmpdir(), "isthmus-edge-")));
    const path = join(home, "config.json");
    const engine = { slots: 2, contextSize: 512, threads: 1 };
    const whole = { name: "us-1", region: "us", dir: home, engine, ...config };
    await writeFile(path, JSON.stringify(whole));
    // Its stdin is a pipe of ours: it ends with us, however we end.
    const child = spawn(process.execPath, [MAIN, "--config", path, "--watch-parent"], {
      stdio: ["pipe", "pipe", "pipe"],
    });
    const words = { text: "" };
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      words.text = (words.text + text).slice(-LAST_WORDS_MAX);
    });
    let out = "";
    child.stdout!.setEncoding("utf8").on("data", (text: string) => {
      out += text;
    });
    const addresses = await eventually("the edge says that it listens", () => {
      if (child.exitCode !== null) throw new Error(words.text);
      return out.includes("\n") && JSON.parse(out);
    });
    return new EdgeProcess(home, child, words, addresses);
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** The end of its log. */
  get log(): string {
    return this.#words.text;
  }

  /** Process ids of its engines. */
  get enginePids(): readonly number[] {
    const children = readFileSync(`/proc/${this.pid}/task/${this.pid}/children`, "utf8");
    return children.trim().split(" ").filter(Boolean).map(Number);
  }

  async ready(): Promise<void> {
    await eventually("the edge is ready", async () => (await fetch(`${this.http}/readyz`)).ok);
  }

  async metric(name: string): Promise<number> {
    const text = await (await fetch(`${this.http}/metrics`)).text();
    const line = text.split("\n").find((each) => each.startsWith(`${name}{`));
    return Number(line?.split(" ").at(-1) ?? Number.NaN);
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Resolves with the exit code, or the signal that ended it. */
  async ended(): Promise<number | NodeJS.Signals> {
    const { exitCode, signalCode } = this.#child;
    if (exitCode !== null || signalCode !== null) return exitCode ?? signalCode!;
    const [code, signal] = await once(this.#child, "exit");
    return code ?? signal;
  }

  /** Ends it at once. The folder goes too, unless it is to be used again. */
  async destroy(keepDir = false): Promise<void> {
    this.signal("SIGKILL");
    await this.ended();
    if (!keepDir) await rm(this.dir, { recursive: true, force: true });
  }
}
