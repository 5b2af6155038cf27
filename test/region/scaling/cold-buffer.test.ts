// The buffer of requests that wait for an edge: bounds, order, and what runs out of time.
import test from "ava";
import { ColdBuffer, type HeldEntry } from "../../../region/scaling/cold-buffer.ts";

const bounds = { requestsMax: 4, requestsPerModelMax: 3, bytesMax: 100 };

function entry(held: string, init: Partial<HeldEntry<string>> = {}): HeldEntry<string> {
  return { model: "m", bytes: 1, priority: "interactive", untilMs: 1000, held, ...init };
}

function drain(buffer: ColdBuffer<string>, model = "m"): string[] {
  const taken: string[] = [];
  for (let next = buffer.take(model); next !== null; next = buffer.take(model)) taken.push(next);
  return taken;
}

test("interactive requests go before batch, and among equals the first to come goes first", (t) => {
  const buffer = new ColdBuffer<string>(bounds);
  buffer.offer(entry("b1", { priority: "batch" }));
  buffer.offer(entry("i1"));
  buffer.offer(entry("i2"));
  t.deepEqual(drain(buffer), ["i1", "i2", "b1"]);
});

test("it holds so many of one model, so many in all, and so many bytes", (t) => {
  const buffer = new ColdBuffer<string>(bounds);
  t.is(buffer.offer(entry("large", { bytes: 101 })), "bytes-full");
  for (const name of ["a", "b", "c"]) t.is(buffer.offer(entry(name)), "held");
  t.is(buffer.offer(entry("d")), "model-full");
  t.is(buffer.offer(entry("e", { model: "n" })), "held");
  t.is(buffer.offer(entry("f", { model: "o" })), "full");
  t.is(buffer.take("m"), "a");
  t.is(buffer.offer(entry("f", { model: "o", bytes: 98 })), "bytes-full");
  t.is(buffer.offer(entry("f", { model: "o", bytes: 97 })), "held");
});

test("what is taken out gives its room back, whichever way it leaves", (t) => {
  const buffer = new ColdBuffer<string>(bounds);
  const gone = entry("gone", { bytes: 50 });
  buffer.offer(gone);
  buffer.offer(entry("late", { bytes: 50, untilMs: 10 }));
  t.is(buffer.offer(entry("more")), "bytes-full");
  t.true(buffer.remove(gone));
  t.false(buffer.remove(gone));
  t.deepEqual(buffer.expire(9), []);
  t.deepEqual(buffer.expire(10), ["late"]);
  t.is(buffer.size, 0);
  t.deepEqual(buffer.models(), []);
  t.is(buffer.offer(entry("more", { bytes: 100 })), "held");
});
