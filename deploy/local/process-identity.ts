// Tells a process from a later one that got the same pid, by the moment it started.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** A mark of when `pid` started, opaque; undefined when there is no such process (or a zombie). */
export function processStart(pid: number): string | undefined {
  if (process.platform === "linux") return linuxStart(pid);
  try {
    const found = execFileSync("ps", ["-o", "lstart=", "-p", String(pid)], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    return found.trim() || undefined;
  } catch {
    return undefined;
  }
}

/** Sends a signal to a process, or to its whole group; false when there is none. */
export function sendSignal(pid: number, signal: NodeJS.Signals, group = false): boolean {
  try {
    process.kill(group ? -pid : pid, signal);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ESRCH") return false;
    throw error;
  }
}

function linuxStart(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // After the parenthesised name: state is the 1st field, start time in ticks the 20th.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}
