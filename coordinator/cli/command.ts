// What a command is, how its arguments are read, and how its help looks.
import { type ParseArgsConfig, type ParseArgsOptionDescriptor, parseArgs } from "node:util";
import type { Terminal } from "./terminal.ts";
import { UsageError } from "./usage-error.ts";

export interface CommandScope {
  readonly terminal: Terminal;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
}

export interface Command {
  readonly name: string;
  /** One line. */
  readonly summary: string;
  /** What follows the name, e.g. `MODEL VERSION [--wait]`. */
  readonly usage?: string;
  /** Lines `--option VALUE  what it does`. */
  readonly options?: readonly string[];
  readonly examples?: readonly string[];
  readonly subcommands?: readonly Command[];
  readonly run?: (args: readonly string[], scope: CommandScope) => Promise<void>;
}

export type OptionSpecs = Readonly<Record<string, ParseArgsOptionDescriptor>>;

/** What options come to: a flag is true or absent, everything else is text or absent. */
export type OptionValues<T extends OptionSpecs> = {
  readonly [K in keyof T]?: (T[K]["type"] extends "boolean" ? boolean : string) | undefined;
};

/** Options of every command that talks to the coordinator. */
export const coordinatorOptions = {
  coordinator: { type: "string" },
  dir: { type: "string" },
} as const satisfies OptionSpecs;

export const coordinatorOptionLines = [
  "--coordinator URL   the coordinator's address; else ISTHMUS_COORDINATOR, else mesh.json",
  "--dir DIR           folder of the local mesh with mesh.json; else the nearest .isthmus",
];

/** Walks down the words to the command that they name. Faults: UsageError for an unknown one. */
export function findCommand(root: Command, args: readonly string[]) {
  let command = root;
  const path = [root.name];
  let rest = args;
  while (command.subcommands !== undefined) {
    const [word] = rest;
    if (word === undefined || word.startsWith("-")) break;
    const next = command.subcommands.find(({ name }) => name === word);
    if (next === undefined) {
      const known = command.subcommands.map(({ name }) => name).join(", ");
      throw new UsageError(`isthmus: there is no \`${[...path, word].join(" ")}\` (${known})`);
    }
    command = next;
    path.push(word);
    rest = rest.slice(1);
  }
  const [first] = rest;
  const asksHelp = first === undefined || first === "--help" || first === "-h";
  if (command.run === undefined && !asksHelp) {
    throw new UsageError(`isthmus: unknown option ${first}`);
  }
  return { command, path: path.join(" "), rest };
}

export function helpOf(command: Command, path: string): string {
  const lines = [command.summary, ""];
  lines.push(`Usage: ${path} ${command.usage ?? (command.subcommands ? "COMMAND" : "")}`.trimEnd());
  if (command.subcommands !== undefined) {
    const width = Math.max(...command.subcommands.map(({ name }) => name.length));
    lines.push("", "Commands:");
    for (const { name, summary } of command.subcommands) {
      lines.push(`  ${name.padEnd(width)}  ${summary}`);
    }
    lines.push("", `Run \`${path} COMMAND --help\` for each.`);
  }
  if (command.options !== undefined) {
    lines.push("", "Options:", ...command.options.map((line) => `  ${line}`));
  }
  if (command.examples !== undefined) {
    lines.push("", "Examples:", ...command.examples.map((line) => `  ${line}`));
  }
  return lines.join("\n");
}

/**
 * Reads arguments: as many positionals as are named, `[NAME]` being optional.
 * Faults: UsageError for an unknown option, or too many or too few positionals.
 */
export function readArgs<T extends OptionSpecs>(
  args: readonly string[],
  path: string,
  options: T,
  names: readonly string[] = [],
): { readonly values: OptionValues<T>; readonly positionals: readonly string[] } {
  const hint = `Run \`${path} --help\` to see how.`;
  const config = { args: [...args], options, allowPositionals: true, strict: true };
  try {
    const { values, positionals } = parseArgs(config satisfies ParseArgsConfig);
    const needed = names.filter((name) => !name.startsWith("["));
    const missing = needed[positionals.length];
    if (missing !== undefined) throw new UsageError(`${path}: ${missing} is missing`, hint);
    if (positionals.length > names.length) {
      throw new UsageError(`${path}: unexpected ${positionals[names.length]}`, hint);
    }
    return { values: values as OptionValues<T>, positionals };
  } catch (thrown) {
    if (thrown instanceof UsageError) throw thrown;
    const message = thrown instanceof Error ? thrown.message.split(". ")[0] : String(thrown);
    throw new UsageError(`${path}: ${message}`, hint);
  }
}

/** A number given as an option; undefined when it isn't. Faults: UsageError. */
export function numberOption(path: string, name: string, text: string | undefined) {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value)) return value;
  throw new UsageError(`${path}: --${name} must be a number, not ${JSON.stringify(text)}`);
}
