// A local mesh run from a terminal: starts it, says where everything is, stops it on Ctrl-C.
import { NatsServerMissing } from "../nats/server-binary.ts";
import { guideText } from "./guide.ts";
import { type MeshHandle, type MeshOptions, startMesh } from "./mesh.ts";
import { modelName } from "./model-source.ts";
import { type CommandLine, helpText, readCommandLine } from "./options.ts";
import type { ProcessExit } from "./supervised-process.ts";
import { MeshRefused, UsageError } from "./usage-error.ts";

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;
/** A terminal's Ctrl-C reaches us twice under npm, which passes on what we got already. */
const SAME_SIGNAL_MS = 1000;

const say = (line: string): void => void process.stdout.write(`${line}\n`);

/** What the command line doesn't say; tests of the launcher put stand-ins here. */
export type LauncherSettings = Pick<MeshOptions, "programs" | "seed">;

/** Runs until told to stop, then exits: 0, 1 when the mesh can't run, 2 for a wrong option. */
export async function runLauncher(
  args: readonly string[],
  settings: LauncherSettings = {},
): Promise<void> {
  try {
    await run(args, settings);
  } catch (error) {
    if (error instanceof UsageError) {
      process.stderr.write(`${error.message}\nSee npm start -- --help\n`);
      process.exit(EXIT_USAGE);
    }
    if (error instanceof MeshRefused || error instanceof NatsServerMissing) {
      process.stderr.write(`${error.message}\n`);
      process.exit(EXIT_FAILED);
    }
    throw error;
  }
}

async function run(args: readonly string[], settings: LauncherSettings): Promise<void> {
  // Whoever read our output may be gone; the mesh goes on until it is told to stop.
  process.stdout.on("error", () => {});
  const options = readCommandLine(args);
  if (options.help) {
    say(helpText);
    return;
  }
  const stopping = new AbortController();
  let stoppingSinceMs = 0;
  let mesh: MeshHandle | undefined;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      if (stopping.signal.aborted) {
        if (performance.now() - stoppingSinceMs < SAME_SIGNAL_MS) return;
        mesh?.forceStop();
        process.exit(EXIT_FAILED); // what is still starting ends with the reaper
      }
      stoppingSinceMs = performance.now();
      say("\nstopping (once more to stop at once)");
      stopping.abort();
      void mesh?.stop().then(() => process.exit(0));
    });
  }
  const startedMs = performance.now();
  try {
    mesh = await start(options, settings, stopping.signal);
  } catch (error) {
    if (stopping.signal.aborted) process.exit(0);
    throw error;
  }
  if (stopping.signal.aborted) {
    await mesh.stop(); // the handler above came too early to know it
    process.exit(0);
  }
  say(guide(mesh, options));
  say(`Ready in ${((performance.now() - startedMs) / 1000).toFixed(1)} s.`);
}

function start(
  options: CommandLine,
  settings: LauncherSettings,
  signal: AbortSignal,
): Promise<MeshHandle> {
  const { model, ...rest } = options;
  return startMesh({
    ...rest,
    ...settings,
    ...(model === undefined ? {} : { model }),
    signal,
    onProgress: say,
    onEnd: tellEnd,
  });
}

function guide({ layout }: MeshHandle, { model }: CommandLine): string {
  const isDemo = model === undefined;
  return guideText({ layout, isDemo, model: isDemo ? "commands" : modelName(model) });
}

function tellEnd(name: string, { code, signal }: ProcessExit, againInMs: number | undefined): void {
  const how = signal === null ? `exit code ${code}` : signal;
  const next =
    againInMs === undefined
      ? "it stays dead (--restart would start it again)"
      : `starting it again in ${againInMs} ms`;
  say(`${name} ended (${how}); ${next}`);
}
