// The log of a process: JSON lines on stderr, through pino. Stdout belongs to the ready line.
// Prompts, completions and deltas are never logged.
import { destination, type Logger, pino, stdTimeFunctions } from "pino";

export type Log = Logger;

export interface LogOptions {
  readonly role: string;
  readonly name: string;
  /** One of pino's levels; default info. */
  readonly level?: string;
}

const STDERR = 2;

/** Makes the log of one process. Faults: throws on a level that pino doesn't know. */
export function createLog({ role, name, level = "info" }: LogOptions): Log {
  return pino(
    {
      level,
      base: { role, name, pid: process.pid },
      timestamp: stdTimeFunctions.isoTime,
    },
    destination({ fd: STDERR, sync: true }), // so that the last words before an exit are not lost
  );
}

/** A log that says nothing, for tests and tools. */
export function silentLog(): Log {
  return pino({ level: "silent" });
}
