// Sources that a test holds in its hands: each one opened waits for the test to speak for it.
import { Fault } from "../../../proto/fault.ts";
import type { GenerateRequest } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import type { Candidate, SourceHints } from "../../../runtime/continuation/candidate.ts";
import { createContinuation } from "../../../runtime/continuation/continuation.ts";
import type { CallContext, OnEvent } from "../../../runtime/inference/backend.ts";
import { ManualClock } from "../../support/manual-clock.ts";

export interface Opened {
  readonly key: string;
  readonly request: GenerateRequest;
  readonly context: CallContext;
  readonly onEvent: OnEvent;
  readonly fail: (fault: Fault) => void;
}

/** A continuation over candidates by name; sources wait for the test to speak for them. */
export function setUp(names: readonly string[], hints: SourceHints = {}) {
  const clock = new ManualClock();
  const opened: Opened[] = [];
  const live = new Set(names);
  const moved: string[] = [];
  const hedged: string[] = [];
  const candidateOf = (key: string): Candidate => ({
    ...hints,
    key,
    edge: key,
    region: "us",
    generate: (request, context, onEvent) =>
      new Promise((_, fail) => {
        opened.push({ key, request, context, onEvent, fail });
        context.signal.addEventListener("abort", () => fail(new Fault("cancelled", "aborted")));
      }),
  });
  const continuation = createContinuation({
    clock,
    pick: (excluded) => {
      const key = [...live].find((name) => !excluded.has(name));
      return key === undefined ? null : candidateOf(key);
    },
    onMove: (key) => moved.push(key),
    onHedge: (key) => hedged.push(key),
  });
  return { clock, opened, live, moved, hedged, continuation };
}

export function contextWith(signal: AbortSignal, deadlineMs = Infinity): CallContext {
  return { signal, requestId: "r", visitedRegions: [], deadlineMs };
}

export const turn = () => new Promise((resolve) => setImmediate(resolve));
