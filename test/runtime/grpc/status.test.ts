// Faults through gRPC statuses and back, every code of them.
import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import test from "ava";
import { Fault, type FaultCode, faultKinds } from "../../../proto/fault.ts";
import { faultToStatus, statusToFault } from "../../../runtime/grpc/status.ts";

/** What a client's call is rejected with when the server sent this status. */
function received(sent: Pick<ServiceError, "code" | "details" | "metadata">): ServiceError {
  return Object.assign(new Error(`${sent.code} ${sent.details}`), sent);
}

for (const code of Object.keys(faultKinds) as FaultCode[]) {
  test(`${code} survives the way through a gRPC status`, (t) => {
    const fault = new Fault(code, "what is wrong", { retryAfterMs: 40.2, param: "model" });
    const sent = faultToStatus(fault);
    t.is(sent.code, fault.kind.grpc);
    t.like(statusToFault(received(sent)), {
      code,
      message: "what is wrong",
      retryAfterMs: 41,
      param: "model",
    });
  });
}

test("texts that gRPC can't carry are made fit to travel", (t) => {
  const sent = faultToStatus(
    new Fault("invalid-argument", `x\ud800${"y".repeat(5000)}`, { param: "ü\n" }),
  );
  t.notThrows(() => encodeURI(sent.details));
  t.true(sent.details.length <= 1000);
  t.is(statusToFault(received(sent)).param, "??");
});

test("statuses that no server of ours wrote become the nearest fault", (t) => {
  const cases: readonly (readonly [status, string, FaultCode])[] = [
    [status.UNAVAILABLE, "No connection established", "link-lost"],
    [status.INTERNAL, "Received RST_STREAM with code 2", "link-lost"],
    [status.INTERNAL, "something else", "internal"],
    [status.CANCELLED, "Cancelled on client", "cancelled"],
    [status.DEADLINE_EXCEEDED, "Deadline exceeded", "deadline-exceeded"],
    [status.RESOURCE_EXHAUSTED, "Received message larger than max (9 vs. 8)", "payload-too-large"],
    [status.RESOURCE_EXHAUSTED, "Bandwidth exhausted", "overloaded"],
    [status.UNIMPLEMENTED, "no such method", "unsupported"],
    [status.UNKNOWN, "?", "internal"],
  ];
  for (const [code, details, expected] of cases) {
    t.is(statusToFault(received({ code, details, metadata: new Metadata() })).code, expected);
  }
});

test("what is no gRPC error becomes an internal fault, and a fault stays itself", (t) => {
  const fault = new Fault("draining", "bye");
  t.is(statusToFault(fault), fault);
  t.is(statusToFault(new TypeError("bug")).code, "internal");
});
