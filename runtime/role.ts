// How a process of the mesh lives: it starts, prints one ready line on stdout, and on SIGTERM,
// SIGINT or (with --watch-parent) the end of stdin it stops in order within a bounded time.
// --log-level LEVEL makes it say more or less.
import { type Clock, systemClock } from "./clock.ts";
import { createLog, type Log } from "./log.ts";
import { createMetrics, type Metrics } from "./metrics.ts";

export interface RoleScope {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  /** Aborted when the process begins to stop. */
  readonly signal: AbortSignal;
  /** Registers what must be done before the process ends; called in reverse order. */
  onStop(stop: () => void | Promise<void>): void;
}

/** Where a started role listens; printed in the ready line. */
export interface RoleAddresses {
  /** http://host:port */
  readonly http: string;
  /** host:port; left out by a role without gRPC. */
  readonly grpc?: string;
}

export interface RoleOptions {
  readonly role: string;
  readonly name: string;
  /** Further labels for the metrics, e.g. the region. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly start: (scope: RoleScope) => Promise<RoleAddresses>;
}

/** Longest that all onStop callbacks together may take. */
const STOP_TIMEOUT_MS = 5000;
const WATCH_PARENT_FLAG = "--watch-parent";
const LOG_LEVEL_FLAG = "--log-level";

/** Runs the role until it is told to stop; the process exits with 0 then, and with 1 on a bug. */
export function runRole({ role, name, labels, start }: RoleOptions): void {
  const level = process.argv[process.argv.indexOf(LOG_LEVEL_FLAG) + 1];
  const levelGiven = process.argv.includes(LOG_LEVEL_FLAG) && level !== undefined;
  const log = createLog({ role, name, ...(levelGiven && { level }) });
  const stopping = new AbortController();
  const stops: (() => void | Promise<void>)[] = [];
  const end = (reason: string, exitCode: number): void => {
    if (stopping.signal.aborted) process.exit(1); // asked twice: at once
    stopping.abort();
    log.info({ reason }, "stopping");
    void stopAll(stops, log).then((clean) => process.exit(clean ? exitCode : 1));
  };
  const die = (thrown: unknown): void => {
    log.fatal({ err: thrown }, "bug: the process ends");
    process.exit(1);
  };
  process.on("uncaughtException", die);
  process.on("unhandledRejection", die);
  process.on("SIGTERM", () => end("SIGTERM", 0));
  process.on("SIGINT", () => end("SIGINT", 0));
  if (process.argv.includes(WATCH_PARENT_FLAG)) watchParent(() => end("the parent is gone", 0));

  const scope: RoleScope = {
    log,
    metrics: createMetrics({ role, name, ...labels }),
    clock: systemClock,
    signal: stopping.signal,
    onStop: (stop) => void stops.push(stop),
  };
  start(scope).then(
    (addresses) => {
      if (stopping.signal.aborted) return;
      process.stdout.write(`${JSON.stringify({ ready: true, ...addresses })}\n`);
      log.info(addresses, "ready");
    },
    (thrown: unknown) => {
      if (stopping.signal.aborted) return; // told to stop while it was starting
      log.fatal({ err: thrown }, "could not start");
      end("could not start", 1);
    },
  );
}

/** Calls the callbacks in reverse order. Returns false if one failed or time ran out. */
async function stopAll(stops: readonly (() => void | Promise<void>)[], log: Log): Promise<boolean> {
  let clean = true;
  const inOrder = async (): Promise<void> => {
    for (const stop of stops.toReversed()) {
      try {
        await stop();
      } catch (thrown) {
        clean = false;
        log.error({ err: thrown }, "a part failed to stop");
      }
    }
  };
  const { promise: tooLate, resolve } = Promise.withResolvers<void>();
  systemClock.after(STOP_TIMEOUT_MS, () => {
    clean = false;
    log.error({ timeoutMs: STOP_TIMEOUT_MS }, "stopping took too long");
    resolve();
  });
  await Promise.race([inOrder(), tooLate]);
  return clean;
}

/** A parent that dies, however it dies, closes our stdin. */
function watchParent(gone: () => void): void {
  const once = (): void => {
    process.stdin.removeAllListeners();
    process.stdin.on("error", () => {}); // nothing more can be learnt from it
    gone();
  };
  process.stdin.on("end", once);
  process.stdin.on("close", once);
  process.stdin.on("error", once);
  process.stdin.resume();
}
