// A trunk that is as a test says, and whose completions never come to an end by themselves.

import { Fault } from "../../proto/fault.ts";
import type { GenerateRequest } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { CallContext, OnEvent } from "../../runtime/inference/backend.ts";
import type { Trunk, TrunkState } from "../../runtime/trunk/trunk.ts";

export interface FakeCall {
  readonly request: GenerateRequest;
  readonly context: CallContext;
  readonly onEvent: OnEvent;
}

export interface FakeTrunk extends Trunk {
  silentMs: number;
  rttMs: number;
  readonly calls: readonly FakeCall[];
  closed: boolean;
  become(state: TrunkState): void;
}

export function fakeTrunk(address: string): FakeTrunk {
  const listeners = new Set<(state: TrunkState) => void>();
  const unserved = () => Promise.reject(new Error("not in this test"));
  const calls: FakeCall[] = [];
  const trunk = {
    calls,
    address,
    state: "connecting" as TrunkState,
    rttMs: 1,
    silentMs: 0,
    inFlight: 0,
    closed: false,
    generate(request: GenerateRequest, context: CallContext, onEvent: OnEvent) {
      calls.push({ request, context, onEvent });
      context.inquiry?.answeredBy(() => ({ phase: "generating", silentMs: 0 }));
      return new Promise<void>((_, reject) => {
        context.signal.addEventListener("abort", () => reject(new Fault("cancelled", "aborted")));
      });
    },
    embed: unserved,
    score: unserved,
    onState(listener: (state: TrunkState) => void) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    close() {
      trunk.closed = true;
    },
    become(state: TrunkState) {
      trunk.state = state;
      for (const listener of listeners) listener(state);
    },
  };
  return trunk;
}
