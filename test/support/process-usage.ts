// What the kernel says a process uses, for benches and proofs. Linux only: read from /proc.
import { readFileSync } from "node:fs";

/** Linux counts CPU time of a process in hundredths of a second. */
const TICK_MS = 10;
const PAGE_BYTES = 4096;

/** CPU time so far, of user and kernel together. */
export function cpuMsOf(pid: number): number {
  const [user, system] = [statOf(pid)[11], statOf(pid)[12]].map(Number);
  return TICK_MS * ((user ?? 0) + (system ?? 0));
}

export function residentBytesOf(pid: number): number {
  return PAGE_BYTES * Number(statOf(pid)[21]);
}

export function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return text === "" ? [] : text.split(" ").map(Number);
}

/** Fields of /proc/PID/stat after the command, which may hold spaces. */
function statOf(pid: number): string[] {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  return text.slice(text.lastIndexOf(")") + 2).split(" ");
}
