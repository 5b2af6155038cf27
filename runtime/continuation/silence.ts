// When a source's silence becomes suspicious, when it is asked, and when it is given up. Counts the
// ticks of its stream, not time: a stall of our own process counts once and condemns nobody.
//
// A source is asked once it has said nothing for a limit: four times its own p99 between tokens, at
// least a second; before the first token twice what was predicted, and a second. One that doesn't
// answer is given up. One that answers is believed as long as the worker behind it was heard of
// lately, and up to a bound that depends on what it says it does.
import { Fault } from "../../proto/fault.ts";
import type { Answer, Standing } from "../inference/inquiry.ts";
import type { SourceHints } from "./candidate.ts";

export interface SilenceBounds {
  /** How often the streams' ticks come. */
  readonly tickMs: number;
  /** The least silence that is suspicious. */
  readonly suspectMinMs: number;
  /** ... and in terms of the source's own p99 between two tokens. */
  readonly suspectP99s: number;
  /** Before the first token: this many times the predicted time, and the least beside it. */
  readonly firstTokenFactor: number;
  /** The longest wait for an answer. */
  readonly answerMaxMs: number;
  /** Between two questions to a source that is left alone. */
  readonly askAgainMs: number;
  /** How long the worker itself may be silent, as a share of the limit... */
  readonly workerShare: number;
  /** ... at least while it reads, since a step then takes as long as it takes... */
  readonly workerReadingMinMs: number;
  /** ... and at least, where the hints don't say what is usual. */
  readonly workerUnknownReadingMinMs: number;
  readonly workerGeneratingMinMs: number;
  /** The longest without a token for a source that says it is at it: before the first, after. */
  readonly queuedMaxMs: number;
  readonly generatingMaxMs: number;
}

export const defaultSilenceBounds: SilenceBounds = {
  tickMs: 250,
  suspectMinMs: 1000,
  suspectP99s: 4,
  firstTokenFactor: 2,
  answerMaxMs: 500,
  askAgainMs: 500,
  workerShare: 0.5,
  workerReadingMinMs: 1000,
  workerUnknownReadingMinMs: 10_000,
  workerGeneratingMinMs: 1250,
  queuedMaxMs: 120_000,
  generatingMaxMs: 15_000,
};

/** The silence of one source. Only the functions here change it. */
export interface Silence {
  readonly hints: SourceHints;
  hasSpoken: boolean;
  /** Since the last token, or since it was opened. */
  ticks: number;
  /** It is asked when more ticks than these have passed. */
  askAfterTicks: number;
  /** When it was asked; null while no answer is due. */
  askedAtTicks: number | null;
}

export type SilenceVerdict = "fine" | "ask" | Fault;

export function beginSilence(hints: SourceHints, bounds: SilenceBounds): Silence {
  const askAfterTicks = ticksOf(firstTokenLimitMs(hints, bounds), bounds);
  return { hints, hasSpoken: false, ticks: 0, askAfterTicks, askedAtTicks: null };
}

/** The source delivered something, which answers whatever it was asked. */
export function breakSilence(silence: Silence, bounds: SilenceBounds): void {
  silence.hasSpoken = true;
  silence.ticks = 0;
  silence.askedAtTicks = null;
  silence.askAfterTicks = ticksOf(nextTokenLimitMs(silence.hints, bounds), bounds);
}

/** Another tick without a token. */
export function tickSilence(silence: Silence, bounds: SilenceBounds): SilenceVerdict {
  silence.ticks += 1;
  const { ticks, askAfterTicks, askedAtTicks } = silence;
  if (askedAtTicks !== null) {
    if (ticks - askedAtTicks < ticksOf(bounds.answerMaxMs, bounds)) return "fine";
    return lost(`no token for ${ticks * bounds.tickMs} ms, and no answer`);
  }
  // The first tick may have come right after the token: only one more makes the limit certain.
  if (ticks <= askAfterTicks) return "fine";
  silence.askedAtTicks = ticks;
  return "ask";
}

/** The source, or whoever speaks for it, has answered. */
export function judgeAnswer(
  silence: Silence,
  answer: Answer,
  bounds: SilenceBounds,
): SilenceVerdict {
  if (silence.askedAtTicks === null) return "fine"; // a token came first
  silence.askedAtTicks = null;
  const silentMs = silence.ticks * bounds.tickMs;
  if (answer === null) return lost(`no token for ${silentMs} ms: the source doesn't know of it`);
  if (answer.phase !== "waiting" && answer.silentMs >= workerLimitMs(silence, answer, bounds)) {
    const why = `no token for ${silentMs} ms, and no word of the engine's process`;
    return new Fault("engine-crashed", why, { stage: "interrupted" });
  }
  if (silentMs >= longestMs(silence, answer, bounds)) {
    return lost(`still ${answer.phase} after ${silentMs} ms without a token`);
  }
  silence.askAfterTicks = silence.ticks + ticksOf(bounds.askAgainMs, bounds) - 1;
  return "fine";
}

function firstTokenLimitMs({ predictedTtftMs = 0 }: SourceHints, bounds: SilenceBounds): number {
  return bounds.suspectMinMs + bounds.firstTokenFactor * predictedTtftMs;
}

function nextTokenLimitMs({ interTokenP99Ms = 0 }: SourceHints, bounds: SilenceBounds): number {
  return Math.max(bounds.suspectMinMs, bounds.suspectP99s * interTokenP99Ms);
}

/** How long a worker at this may be silent itself. */
function workerLimitMs({ hints }: Silence, { phase }: Standing, bounds: SilenceBounds): number {
  const { workerShare, workerGeneratingMinMs } = bounds;
  if (phase === "generating") {
    const limitMs = nextTokenLimitMs(hints, bounds) * workerShare;
    return isKnown(hints.interTokenP99Ms) ? limitMs : Math.max(limitMs, workerGeneratingMinMs);
  }
  const isPredicted = isKnown(hints.predictedTtftMs);
  const leastMs = isPredicted ? bounds.workerReadingMinMs : bounds.workerUnknownReadingMinMs;
  return Math.max(firstTokenLimitMs(hints, bounds) * workerShare, leastMs);
}

function longestMs({ hints }: Silence, { phase }: Standing, bounds: SilenceBounds): number {
  return phase === "generating"
    ? Math.max(bounds.generatingMaxMs, nextTokenLimitMs(hints, bounds))
    : Math.max(bounds.queuedMaxMs, firstTokenLimitMs(hints, bounds));
}

const isKnown = (ms: number | undefined): boolean => ms !== undefined && ms > 0;

function ticksOf(ms: number, { tickMs }: SilenceBounds): number {
  return Math.max(1, Math.ceil(ms / tickMs));
}

function lost(message: string): Fault {
  return new Fault("link-lost", message, { stage: "interrupted" });
}
