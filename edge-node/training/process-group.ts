// A command that runs in a process group of its own, behind everything else: at low priority, first
// to go when memory runs out, and gone when the process that started it is gone.

import { type ChildProcessByStdio, spawn } from "node:child_process";
import fs from "node:fs";
import type { Readable } from "node:stream";

/** Serving comes first. */
const NICENESS = "10";
/** Linux's largest: the kernel ends this process before any other. */
const OUT_OF_MEMORY_SCORE = "1000";
const KIBIBYTE = 1024;
/** Reads until the parent is gone, which closes the pipe, and then ends the group. */
const GUARD = 'cat >/dev/null; kill -s KILL -- "-$1"';

export interface ProcessGroup {
  readonly pid: number;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Resolves when the command has ended, with how; whatever it started is ended then too. */
  readonly ended: Promise<Ending>;
  /** Stops every process of the group where it is, until `resume`. */
  pause(): void;
  resume(): void;
  kill(): void;
  /** Resident memory of the whole group; null where the system doesn't tell. */
  residentBytes(): number | null;
}

export type Ending =
  | { readonly kind: "exited"; readonly code: number }
  | { readonly kind: "killed"; readonly signal: string }
  /** It didn't even start. */
  | { readonly kind: "failed"; readonly message: string };

/** Starts a command. Source: nice(1), setsid(2), proc(5), all of POSIX but the memory's part. */
export function startProcessGroup(command: readonly string[]): ProcessGroup {
  const child = spawn("nice", ["-n", NICENESS, ...command], {
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const { pid } = child;
  if (pid !== undefined) sacrificeFirst(pid);
  const dismissGuard = pid === undefined ? () => {} : startGuard(pid);
  const signal = (name: NodeJS.Signals) => {
    if (pid !== undefined) signalGroup(pid, name);
  };
  const ended = endingOf(child).finally(() => {
    dismissGuard();
    signal("SIGKILL");
  });
  return {
    pid: pid ?? 0,
    stdout: child.stdout,
    stderr: child.stderr,
    ended,
    pause: () => signal("SIGSTOP"),
    resume: () => signal("SIGCONT"),
    kill: () => signal("SIGKILL"),
    residentBytes: () => (pid === undefined ? null : residentBytesOf(pid)),
  };
}

function endingOf(child: ChildProcessByStdio<null, Readable, Readable>): Promise<Ending> {
  return new Promise((resolve) => {
    child.once("error", ({ message }) => resolve({ kind: "failed", message }));
    child.once("exit", (code, signal) => {
      if (signal !== null) resolve({ kind: "killed", signal });
      else resolve({ kind: "exited", code: code ?? 0 });
    });
  });
}

/** A killed parent can't end its children, least of all stopped ones; this does, in its place. */
function startGuard(group: number): () => void {
  const guard = spawn("/bin/sh", ["-c", GUARD, "guard", String(group)], {
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  // Without a shell there is no guard: then only a killed edge leaves its trainer behind.
  guard.once("error", () => {});
  guard.stdin.once("error", () => {});
  return () => {
    guard.kill("SIGKILL");
    guard.stdin.destroy();
  };
}

function signalGroup(group: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-group, signal);
  } catch (thrown) {
    // Nothing of it is left.
    if ((thrown as NodeJS.ErrnoException).code !== "ESRCH") throw thrown;
  }
}

function sacrificeFirst(pid: number): void {
  try {
    fs.writeFileSync(`/proc/${pid}/oom_score_adj`, OUT_OF_MEMORY_SCORE);
  } catch {
    // Not Linux, or gone already: then the system's own choice holds.
  }
}

/** Of a process and all that descend from it; null where there is no /proc. */
function residentBytesOf(pid: number): number | null {
  const own = statusBytes(pid);
  if (own === null) return null;
  return childrenOf(pid).reduce((sum, child) => sum + (residentBytesOf(child) ?? 0), own);
}

function statusBytes(pid: number): number | null {
  const status = readProc(`${pid}/status`);
  if (status === null) return null;
  const [, kibibytes = "0"] = /^VmRSS:\s+(\d+) kB$/m.exec(status) ?? [];
  return Number(kibibytes) * KIBIBYTE;
}

function childrenOf(pid: number): number[] {
  return threadsOf(pid).flatMap((thread) => {
    const children = readProc(`${pid}/task/${thread}/children`) ?? "";
    return children.split(" ").filter(Boolean).map(Number);
  });
}

function threadsOf(pid: number): string[] {
  try {
    return fs.readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
}

/** Null for what isn't there: the process may end at any moment. */
function readProc(path: string): string | null {
  try {
    return fs.readFileSync(`/proc/${path}`, "utf8");
  } catch {
    return null;
  }
}
