// Decides when training pauses: while requests are served, but never so much that it starves.
//
// Training is owed a share of the time. What it is owed grows while it is paused and shrinks while
// it runs; once it is owed a whole turn it runs that turn, busy or not. So over any stretch of time
// it runs for at least its share, less one turn, whatever the pattern of the requests.

export interface PauseRules {
  /** The share of the time that training gets however busy serving is; 1 never pauses. */
  readonly shareMin: number;
  /** How much may be owed before training runs beside requests. */
  readonly turnMs: number;
  /** How long serving must have been quiet before training goes on; requests come in bursts. */
  readonly quietMs: number;
}

export interface PauseState {
  readonly isPaused: boolean;
  readonly owedMs: number;
  /** Whether it runs off what it is owed. */
  readonly isForced: boolean;
  readonly quietSinceMs: number | null;
  /** When it was decided last. */
  readonly atMs: number;
}

export function running(nowMs: number): PauseState {
  return { isPaused: false, owedMs: 0, isForced: false, quietSinceMs: null, atMs: nowMs };
}

/** The state now. Decisions hold until the next call, so calls should be frequent against turns. */
export function decidePause(
  state: PauseState,
  { isBusy, nowMs }: { readonly isBusy: boolean; readonly nowMs: number },
  { shareMin, turnMs, quietMs }: PauseRules,
): PauseState {
  const passedMs = Math.max(0, nowMs - state.atMs);
  const ranMs = state.isPaused ? 0 : passedMs;
  const owedMs = Math.max(0, state.owedMs + shareMin * passedMs - ranMs);
  const isForced = shareMin >= 1 || owedMs >= turnMs || (state.isForced && owedMs > 0);
  const quietSinceMs = isBusy ? null : (state.quietSinceMs ?? nowMs);
  const isQuiet = quietSinceMs !== null && nowMs - quietSinceMs >= quietMs;
  const isPaused = !isForced && (isBusy || (state.isPaused && !isQuiet));
  return { isPaused, owedMs, isForced, quietSinceMs, atMs: nowMs };
}
