// The launcher's side of the reaper: starts it, tells it what runs, and starts it again if it dies.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";

/** One line to the reaper. Processes are leaders of their own groups. */
export interface ReaperLine {
  readonly add?: number;
  readonly remove?: number;
  /** A nats-server, which notices nothing by itself and ends after the roles. */
  readonly server?: boolean;
}

export class ReaperLink {
  readonly #watched = new Map<number, boolean>();
  readonly #meshDir: string | undefined;
  #child: ChildProcess;
  #closing = false;

  /** With a mesh's folder, its mesh.json is emptied when the launcher dies. */
  constructor(meshDir?: string) {
    this.#meshDir = meshDir;
    this.#child = this.#spawn();
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  watch(pid: number, server: boolean): void {
    this.#watched.set(pid, server);
    this.#tell({ add: pid, server });
  }

  forget(pid: number): void {
    this.#watched.delete(pid);
    this.#tell({ remove: pid });
  }

  /** Ends the reaper; what it still watches is stopped. */
  async close(): Promise<void> {
    this.#closing = true;
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.stdin?.end();
    await exited;
  }

  #spawn(): ChildProcess {
    const program = new URL("./reaper.ts", import.meta.url).pathname;
    // Its own session, so that no signal meant for the launcher's group reaches it.
    const child = spawn(process.execPath, this.#meshDir ? [program, this.#meshDir] : [program], {
      detached: true,
      stdio: ["pipe", "ignore", "inherit"],
    });
    child.stdin?.on("error", () => {}); // it died; "exit" below starts the next one
    child.once("exit", () => {
      if (this.#closing) return;
      this.#child = this.#spawn();
      for (const [pid, server] of this.#watched) this.#tell({ add: pid, server });
    });
    return child;
  }

  #tell(line: ReaperLine): void {
    this.#child.stdin?.write(`${JSON.stringify(line)}\n`);
  }
}
