// What is known of one stream that may move from source to source, and the bounds of its life.
import type { Fault, FaultCode } from "../../proto/fault.ts";
import type {
  GenerateRequest,
  GenerateResponse,
  Move,
  Started,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { SourceHints } from "./candidate.ts";
import { type Cursor, createDelivery, type Delivery } from "./delivery.ts";
import { defaultSilenceBounds, type Silence, type SilenceBounds } from "./silence.ts";

export interface ContinuationBounds {
  /** Sources tried in a row without one new token between them. */
  readonly fruitlessMax: number;
  /** Sources tried in the whole life of a stream. */
  readonly attemptsMax: number;
  /** Waits in a row when no other source is there: of a stream that has begun, and of a new one. */
  readonly waitsMax: number;
  readonly freshWaitsMax: number;
  /** First delay when no other source is there; doubles up to the longest. */
  readonly delayMs: number;
  readonly delayMaxMs: number;
  /** A begun stream without a token for so long since it was left ends when it is left again. */
  readonly adriftMaxMs: number;
  /** Second sources started in the whole life of a stream. */
  readonly hedgesMax: number;
  readonly silence: SilenceBounds;
}

export const defaultBounds: ContinuationBounds = {
  fruitlessMax: 8,
  attemptsMax: 64,
  waitsMax: 24,
  freshWaitsMax: 6,
  delayMs: 100,
  delayMaxMs: 1000,
  adriftMaxMs: 20_000,
  hedgesMax: 1,
  silence: defaultSilenceBounds,
};

/** One source at work on the stream. There are two only while a hedge races. */
export interface Source {
  readonly attempt: number;
  readonly key: string;
  readonly isHedge: boolean;
  readonly hints: SourceHints;
  readonly cursor: Cursor;
  readonly silence: Silence;
  /** As the candidate said, and then as the source itself did. */
  edge: string;
  region: string;
  /** Its first event, held back while another source may yet win. */
  held: GenerateResponse | null;
  started: Started | null;
  /** Tokens that it sent, whether they were new or not. */
  tokens: number;
}

/** A move that is under way: it counts once the next source has delivered something. */
export interface Departure {
  readonly atToken: number;
  readonly fromEdge: string;
  readonly fromRegion: string;
  readonly cause: FaultCode;
}

/** One stream. Only `advance` changes it. */
export interface StreamState {
  readonly request: GenerateRequest;
  readonly bounds: ContinuationBounds;
  readonly delivery: Delivery;
  /** Sources that failed since the last wait, and the one that whoever resumes was left at. */
  readonly excluded: Set<string>;
  readonly moves: Move[];
  phase: "idle" | "choosing" | "open" | "waiting" | "settled";
  sources: Source[];
  /** Whether a choice was asked for and not answered. */
  isPicking: boolean;
  attempt: number;
  fruitless: number;
  waits: number;
  /** Ticks since a begun stream was left, until its next token. */
  adriftTicks: number;
  hedges: number;
  hedgedTokens: number;
  /** What the caller was told. */
  started: Started | null;
  departure: Departure | null;
  lastFault: Fault | null;
}

export function createStream(
  request: GenerateRequest,
  bounds: ContinuationBounds = defaultBounds,
): StreamState {
  return {
    request,
    bounds,
    delivery: createDelivery(request.resume),
    excluded: new Set(request.resume?.left ? [request.resume.left] : []),
    moves: [],
    phase: "idle",
    sources: [],
    isPicking: false,
    attempt: 0,
    fruitless: 0,
    waits: 0,
    adriftTicks: 0,
    hedges: 0,
    hedgedTokens: 0,
    started: null,
    departure: null,
    lastFault: null,
  };
}
