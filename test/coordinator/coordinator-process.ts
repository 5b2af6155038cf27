// The coordinator as a real process, which tests may kill and start again on the same folder.
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

const root = resolve(import.meta.dirname, "../..");

export interface CoordinatorSetup {
  readonly dir: string;
  readonly nats: readonly string[];
  readonly regions: readonly string[];
}

export class CoordinatorProcess {
  readonly http: string;
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;

  private constructor(child: ChildProcess, http: string) {
    this.#child = child;
    this.http = http;
    this.#exited = child.exitCode === null ? once(child, "exit") : Promise.resolve();
  }

  static async start(setup: CoordinatorSetup): Promise<CoordinatorProcess> {
    mkdirSync(setup.dir, { recursive: true });
    const config = join(setup.dir, "config.json");
    const { dir, nats, regions } = setup;
    writeFileSync(config, JSON.stringify({ dir, nats, regions, natsDomain: "central" }));
    const log = openSync(join(dir, "coordinator.log"), "a");
    const main = join(root, "coordinator/main.ts");
    const child = spawn(process.execPath, [main, "--config", config, "--watch-parent"], {
      stdio: ["pipe", "pipe", log],
    });
    for await (const line of createInterface(child.stdout!)) {
      const { http } = JSON.parse(line) as { http: string };
      return new CoordinatorProcess(child, http);
    }
    const said = readFileSync(join(dir, "coordinator.log"), "utf8").slice(-2000);
    throw new Error(`the coordinator did not start: ${said}`);
  }

  get exitCode(): number | null {
    return this.#child.exitCode;
  }

  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill(signal);
      await this.#exited;
    }
  }

  async get<T>(path: string): Promise<T> {
    return (await (await fetch(`${this.http}${path}`)).json()) as T;
  }

  async post(path: string, body: unknown): Promise<{ status: number; body: never }> {
    const init = { method: "POST", body: JSON.stringify(body) };
    const answer = await fetch(`${this.http}${path}`, init);
    return { status: answer.status, body: (await answer.json()) as never };
  }

  /** Uploads bytes; returns what refers to them. */
  async upload(bytes: Uint8Array, name: string) {
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    const init = { method: "PUT", body: new Uint8Array(bytes) };
    const answer = await fetch(`${this.http}/v1/artifacts/${sha256}`, init);
    if (!answer.ok) throw new Error(`upload: ${answer.status} ${await answer.text()}`);
    return { sha256, bytes: bytes.length, name };
  }
}
