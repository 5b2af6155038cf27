// What a decode rate is: tokens per second of all streams together, counted while every stream
// decodes, from the first token of the last to start until the first one has its last.

export interface StreamTimes {
  /** Milliseconds at which each token arrived, in order. */
  readonly arrivalsMs: readonly number[];
}

export interface DecodeWindow {
  readonly tokens: number;
  readonly ms: number;
}

/**
 * Each stream counts by its own pace between its first and last arrival in the window: the tokens
 * of one step reach the reader one after another, so that a cut by the clock would lose most of the
 * last step.
 */
export function decodeWindow(streams: readonly StreamTimes[]): DecodeWindow {
  const fromMs = Math.max(...streams.map(({ arrivalsMs }) => arrivalsMs[0] ?? Infinity));
  const toMs = Math.min(...streams.map(({ arrivalsMs }) => arrivalsMs.at(-1) ?? -Infinity));
  if (!(toMs > fromMs)) return { tokens: 0, ms: 0 };
  let tokensPerMs = 0;
  for (const { arrivalsMs } of streams) {
    const within = arrivalsMs.filter((atMs) => atMs >= fromMs && atMs <= toMs);
    const spanMs = (within.at(-1) ?? 0) - (within[0] ?? 0);
    if (spanMs > 0) tokensPerMs += (within.length - 1) / spanMs;
  }
  const ms = toMs - fromMs;
  return { tokens: tokensPerMs * ms, ms };
}

/**
 * Tokens per second over several windows.
 *
 * @throws Error when the streams never decoded all at once: then nothing was measured.
 */
export function rate(windows: readonly DecodeWindow[]): number {
  const tokens = windows.reduce((sum, window) => sum + window.tokens, 0);
  const ms = windows.reduce((sum, window) => sum + window.ms, 0);
  if (ms === 0) throw new Error("The streams never decoded at once: fewer slots than streams?");
  return (1000 * tokens) / ms;
}
