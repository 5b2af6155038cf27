// The table of faults: every code maps to a status pair that callers can act on.
import { status } from "@grpc/grpc-js";
import test from "ava";
import { asFault, Fault, type FaultCode, faultKinds, isFaultCode } from "../../proto/fault.ts";

const codes = Object.keys(faultKinds) as FaultCode[];

test("every code maps to a gRPC status that exists and an HTTP error status", (t) => {
  for (const code of codes) {
    const kind = faultKinds[code];
    t.truthy(status[kind.grpc], code);
    t.true(kind.http >= 400 && kind.http < 600, code);
  }
});

test("what another edge may serve is a 429 or a 503, and nothing else is retriable", (t) => {
  for (const code of codes) {
    const kind = faultKinds[code];
    if (kind.retriable) t.true(kind.http === 429 || kind.http === 503, code);
    if (kind.http === 400 || kind.http === 404) t.false(kind.retriable, code);
  }
});

test("a fault keeps what it was given, and what is not a fault becomes one with its cause", (t) => {
  const fault = new Fault("overloaded", "full", { retryAfterMs: 250, param: "model" });
  t.like(fault, { retriable: true, retryAfterMs: 250, param: "model", stage: "rejected" });
  t.is(asFault(fault), fault);
  const cause = new Error("boom");
  const converted = asFault(cause, "link-lost");
  t.like(converted, { code: "link-lost", message: "boom", cause });
  t.is(asFault("text").message, "text");
});

test("only own codes are codes", (t) => {
  t.true(isFaultCode("overloaded"));
  for (const other of ["", "toString", "__proto__", "OVERLOADED"]) t.false(isFaultCode(other));
});
