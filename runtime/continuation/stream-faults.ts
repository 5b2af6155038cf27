// The faults that a stream itself raises, and what a caller is told of those that end it.
import { Fault } from "../../proto/fault.ts";
import type { StreamState } from "./stream-state.ts";

/** What a caller is told whose stream had begun and found nobody to go on with it. */
export function deadEnd({ started, delivery }: StreamState, fault: Fault): Fault {
  if (started === null) return fault;
  const { code, retryAfterMs, param } = fault;
  const count = delivery.ids.length;
  const what = `nothing in reach could go on with the stream after ${count} tokens`;
  const message = `${what}: ${fault.message}`;
  return new Fault(code, message, { stage: "interrupted", retryAfterMs, param, cause: fault });
}

/** Once something was delivered, an ending fault interrupts the stream, whatever it said itself. */
export function staged(state: StreamState, fault: Fault): Fault {
  if (state.started === null || fault.stage === "interrupted") return fault;
  const { code, message, retryAfterMs, param } = fault;
  return new Fault(code, message, { stage: "interrupted", retryAfterMs, param, cause: fault });
}

export function lost(reason: string): Fault {
  return new Fault("link-lost", reason, { stage: "interrupted" });
}

export function endedEarly(): Fault {
  return lost("the source ended the stream without finishing it");
}

export function noSource(): Fault {
  return new Fault("unavailable", "nothing in reach can serve this request now");
}
