// The `isthmus` command: finds the command meant, runs it, and turns what goes wrong into one clear
// line and an exit code (2: the command line is wrong; 1: it failed; 130: interrupted).
import { Fault } from "../../proto/fault.ts";
import { findCommand, helpOf } from "./command.ts";
import { commands } from "./commands.ts";
import { createTerminal } from "./terminal.ts";
import { UsageError } from "./usage-error.ts";

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;
const EXIT_INTERRUPTED = 130;

const interrupt = new AbortController();
process.once("SIGINT", () => {
  interrupt.abort();
  process.once("SIGINT", () => process.exit(EXIT_INTERRUPTED));
});
// A reader that has seen enough (`| head`) is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : EXIT_FAILED);
});

process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  const terminal = createTerminal(process.stdout, process.stderr);
  try {
    const { command, path, rest } = findCommand(commands, args);
    if (rest.includes("--help") || rest.includes("-h") || command.run === undefined) {
      terminal.print(helpOf(command, path));
      return 0;
    }
    const env = process.env;
    await command.run(rest, { terminal, env, cwd: process.cwd(), signal: interrupt.signal });
    return 0;
  } catch (thrown) {
    if (interrupt.signal.aborted) return EXIT_INTERRUPTED;
    if (thrown instanceof UsageError) {
      terminal.complain(`${thrown.message}\n${thrown.hint}`);
      return EXIT_USAGE;
    }
    terminal.complain(reasonOf(thrown));
    return EXIT_FAILED;
  }
}

function reasonOf(thrown: unknown): string {
  if (thrown instanceof Fault) return thrown.message;
  return thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
}
