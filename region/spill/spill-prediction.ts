// What a request would take in another region: the same terms as for an edge, from what that region
// says of its best edge, corrected by what was spilled there since it said so. Milliseconds.
import type { RegionModel } from "../../proto/gen/isthmus/v1/mesh_pb.ts";

/** What a region tells of one model, as far as a prediction needs it. */
export type PeerModel = Pick<
  RegionModel,
  | "version"
  | "edgesReady"
  | "edgesWithGpu"
  | "slots"
  | "freeSlots"
  | "queueMs"
  | "prefillTokensPerS"
  | "decodeTokensPerS"
>;

export interface SpillSize {
  readonly version: string;
  readonly promptTokens: number;
  readonly expectedTokens: number;
}

export interface SpillTerms {
  /** To the region and, where it is reached through another, from there on. */
  readonly rttMs: number;
  readonly queueMs: number;
  /** Of the whole prompt: nothing is known of what is cached there. */
  readonly prefillMs: number;
  /** Of all the tokens that are expected. */
  readonly generationMs: number;
  readonly penaltyMs: number;
  /** The version asked for isn't the one that the best edge there serves; others may. */
  readonly versionMs: number;
}

/** What is assumed of a region that hasn't measured itself. */
export interface AssumedPeerRates {
  readonly prefillTokensPerS: number;
  readonly decodeTokensPerS: number;
}

const PREFILL_TOKENS_PER_S_DEFAULT = 200;
const DECODE_TOKENS_PER_S_DEFAULT = 20;
/** How much a stream slows down for each one more on its edge. */
const SLOWDOWN_PER_STREAM = 0.05;
const OTHER_VERSION_MS = 1000;
/** Assumed until the first token of a region that is connected but hasn't said how it is. */
const UNTOLD_QUEUE_MS = 10_000;

/**
 * Predicts one request there. `sentSince` counts the requests that this region has there now and
 * that its last word doesn't count yet.
 */
export function predictSpill(
  model: PeerModel,
  request: SpillSize,
  link: { readonly rttMs: number; readonly penaltyMs: number; readonly sentSince: number },
  assumed: AssumedPeerRates,
): SpillTerms {
  const prefillRate = positive(model.prefillTokensPerS, assumed.prefillTokensPerS);
  const decodeRate = positive(model.decodeTokensPerS, assumed.decodeTokensPerS);
  const sent = Math.max(0, link.sentSince);
  const sentToEdge = sent / Math.max(1, model.edgesReady);
  const generationMs =
    ((request.expectedTokens * 1000) / decodeRate) * (1 + SLOWDOWN_PER_STREAM * sentToEdge);
  const waiting = Math.max(0, sent + 1 - model.freeSlots);
  const addedQueueMs = sent === 0 ? 0 : (waiting * generationMs) / Math.max(1, model.slots);
  const others = request.version !== "" && model.version !== request.version;
  return {
    rttMs: link.rttMs,
    queueMs: model.queueMs + addedQueueMs,
    prefillMs: ((Math.max(1, request.promptTokens) * 1000) / prefillRate) * (1 + sentToEdge),
    generationMs,
    penaltyMs: link.penaltyMs,
    versionMs: others ? OTHER_VERSION_MS : 0,
  };
}

/** Predicts a request in a region of which nothing is known but that it is there. */
export function predictUntold(
  request: SpillSize,
  link: { readonly rttMs: number; readonly penaltyMs: number },
  assumed: AssumedPeerRates,
): SpillTerms {
  return {
    rttMs: link.rttMs,
    queueMs: UNTOLD_QUEUE_MS,
    prefillMs: (request.promptTokens * 1000) / assumed.prefillTokensPerS,
    generationMs: (request.expectedTokens * 1000) / assumed.decodeTokensPerS,
    penaltyMs: link.penaltyMs,
    versionMs: 0,
  };
}

/** The best rates that any of the regions has measured: one without any isn't avoided for ever. */
export function assumedRates(models: Iterable<PeerModel>): AssumedPeerRates {
  let prefillTokensPerS = 0;
  let decodeTokensPerS = 0;
  for (const model of models) {
    prefillTokensPerS = Math.max(prefillTokensPerS, model.prefillTokensPerS);
    decodeTokensPerS = Math.max(decodeTokensPerS, model.decodeTokensPerS);
  }
  return {
    prefillTokensPerS: positive(prefillTokensPerS, PREFILL_TOKENS_PER_S_DEFAULT),
    decodeTokensPerS: positive(decodeTokensPerS, DECODE_TOKENS_PER_S_DEFAULT),
  };
}

export function spillTotalMs(terms: SpillTerms): number {
  const { rttMs, queueMs, prefillMs, generationMs, penaltyMs, versionMs } = terms;
  return rttMs + queueMs + prefillMs + generationMs + penaltyMs + versionMs;
}

function positive(value: number, otherwise: number): number {
  return value > 0 ? value : otherwise;
}
