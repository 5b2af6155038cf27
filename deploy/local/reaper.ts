// A tiny program that outlives the launcher to clean up after it. Its stdin is a pipe from the
// launcher, which names each process it starts in one JSON line; when the pipe ends, however the
// launcher died, what still runs is stopped: roles first (they notice by themselves), servers last.
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { writeMeshState } from "./mesh-state.ts";
import { processStart, sendSignal } from "./process-identity.ts";
import type { ReaperLine } from "./reaper-link.ts";

/** A role stops within 5 s of its launcher's end; then it is stuck. */
const ROLE_GRACE_MS = 6_000;
const SERVER_GRACE_MS = 3_000;
const POLL_MS = 50;

interface Watched {
  readonly pid: number;
  readonly start: string | undefined;
  readonly server: boolean;
}

const watched = new Map<number, Watched>();

// The terminal's Ctrl-C and hang-up are the launcher's to handle; this program ends after it.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});

for await (const line of createInterface({ input: process.stdin })) {
  const { add, remove, server } = JSON.parse(line) as ReaperLine;
  if (remove !== undefined) watched.delete(remove);
  if (add !== undefined) {
    watched.set(add, { pid: add, start: processStart(add), server: server ?? false });
  }
}

// At once, before a next mesh can have written its own: nobody may find the dead one there.
const meshDir = process.argv[2];
if (meshDir !== undefined) writeMeshState(meshDir, { processes: [], ready: false });

const roles = [...watched.values()].filter(({ server }) => !server);
const servers = [...watched.values()].filter(({ server }) => server);
// A frozen process can't notice anything before it is thawed.
for (const role of roles) signalGroup(role, "SIGCONT");
await gone(roles, ROLE_GRACE_MS);
for (const role of roles) signalGroup(role, "SIGKILL");
for (const natsServer of servers) {
  signalGroup(natsServer, "SIGCONT");
  signalGroup(natsServer, "SIGTERM");
}
await gone(servers, SERVER_GRACE_MS);
for (const natsServer of servers) signalGroup(natsServer, "SIGKILL");

async function gone(processes: readonly Watched[], graceMs: number): Promise<void> {
  for (let waitedMs = 0; waitedMs < graceMs && processes.some(isAlive); waitedMs += POLL_MS) {
    await delay(POLL_MS);
  }
}

function isAlive({ pid, start }: Watched): boolean {
  return start !== undefined && processStart(pid) === start;
}

/** Signals the process and its children; the group survives a leader that has already ended. */
function signalGroup(target: Watched, signal: NodeJS.Signals): void {
  const leader = processStart(target.pid);
  if (leader !== undefined && leader !== target.start) return; // the pid is another's by now
  sendSignal(target.pid, signal, true);
}
