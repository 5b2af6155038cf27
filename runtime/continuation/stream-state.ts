// What is known of one stream that may move from source to source, and the bounds of its life.
import type { Fault, FaultCode } from "../../proto/fault.ts";
import type { GenerateRequest, Move, Started } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { type Cursor, createDelivery, cursorAtEnd, type Delivery } from "./delivery.ts";

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
}

export const defaultBounds: ContinuationBounds = {
  fruitlessMax: 8,
  attemptsMax: 64,
  waitsMax: 30,
  freshWaitsMax: 6,
  delayMs: 100,
  delayMaxMs: 1000,
};

/** A move that is under way: it counts once the next source has spoken. */
export interface Departure {
  readonly atToken: number;
  readonly fromEdge: string;
  readonly cause: FaultCode;
}

/** One stream. Only `advance` changes it. */
export interface StreamState {
  readonly request: GenerateRequest;
  readonly bounds: ContinuationBounds;
  readonly delivery: Delivery;
  /** Sources that failed since the last wait. */
  readonly excluded: Set<string>;
  readonly moves: Move[];
  phase: "idle" | "choosing" | "open" | "waiting" | "settled";
  cursor: Cursor;
  attempt: number;
  fruitless: number;
  waits: number;
  key: string;
  edge: string;
  started: Started | null;
  departure: Departure | null;
  lastFault: Fault | null;
}

export function createStream(
  request: GenerateRequest,
  bounds: ContinuationBounds = defaultBounds,
): StreamState {
  const delivery = createDelivery(request.resume);
  return {
    request,
    bounds,
    delivery,
    excluded: new Set(),
    moves: [],
    phase: "idle",
    cursor: cursorAtEnd(delivery),
    attempt: 0,
    fruitless: 0,
    waits: 0,
    key: "",
    edge: "",
    started: null,
    departure: null,
    lastFault: null,
  };
}
