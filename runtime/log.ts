// The log of a process: JSON lines on stderr, through pino. Stdout belongs to the ready line.
// Prompts, completions and deltas are never logged.
import { destination, type Logger, pino, stdTimeFunctions } from "pino";

export type Log = Logger;

export interface LogOptions {
  readonly role: string;
  readonly name: string;
}

const LEVEL_VARIABLE = "ISTHMUS_LOG";
const STDERR = 2;

/** Makes the log of one process. The environment's ISTHMUS_LOG sets the level (default info). */
export function createLog({ role, name }: LogOptions): Log {
  const level = process.env[LEVEL_VARIABLE] ?? "info";
  return pino(
    {
      level: level in pino.levels.values || level === "silent" ? level : "info",
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
