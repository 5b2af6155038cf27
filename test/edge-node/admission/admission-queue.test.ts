// The laws of admission: bounds, order, fairness, deadlines; over enumerated and random histories.
import test from "ava";
import fc from "fast-check";
import {
  AdmissionQueue,
  type Arrival,
  BATCH_TURN,
  type QueueChange,
  type Ticket,
} from "../../../edge-node/admission/admission-queue.ts";

const forever = Number.POSITIVE_INFINITY;
const interactive = (id: number, deadlineMs = forever, tenant = ""): Ticket => ({
  id,
  priority: "interactive",
  tenant,
  deadlineMs,
  leastMs: 0,
});
const batch = (id: number, deadlineMs = forever, tenant = ""): Ticket => ({
  ...interactive(id, deadlineMs, tenant),
  priority: "batch",
});

test("for all small bounds and loads: slots fill, then the queue, then rejection", (t) => {
  for (let slots = 1; slots <= 3; slots++) {
    for (let queueMax = 0; queueMax <= 3; queueMax++) {
      const queue = new AdmissionQueue({ slots, queueMax });
      const kinds = Array.from(
        { length: slots + queueMax + 2 },
        (_, id) => queue.arrive(interactive(id), 0).kind,
      );
      const expected = [
        ...Array(slots).fill("admitted"),
        ...Array(queueMax).fill("queued"),
        "rejected",
        "rejected",
      ];
      t.deepEqual(kinds, expected);
    }
  }
});

test("interactive goes before batch, first come first served within each", (t) => {
  const queue = new AdmissionQueue({ slots: 1, queueMax: 8 });
  queue.arrive(interactive(0), 0);
  for (const ticket of [batch(1), interactive(2), batch(3), interactive(4)])
    queue.arrive(ticket, 0);
  const order: number[] = [];
  let running = 0;
  for (let step = 0; step < 4; step++) {
    const { admitted } = queue.release(running, 0);
    t.is(admitted.length, 1);
    running = admitted[0]!;
    order.push(running);
  }
  t.deepEqual(order, [2, 4, 1, 3]);
});

test("batch can't fill more than half of the queue, so interactive still finds room", (t) => {
  const queue = new AdmissionQueue({ slots: 1, queueMax: 4 });
  queue.arrive(interactive(0), 0);
  const kinds = [1, 2, 3].map((id) => queue.arrive(batch(id), 0).kind);
  t.deepEqual(kinds, ["queued", "queued", "rejected"]);
  t.is(queue.arrive(interactive(4), 0).kind, "queued");
});

test("a waiting batch request is served after at most BATCH_TURN interactive ones", (t) => {
  const queue = new AdmissionQueue({ slots: 1, queueMax: 100 });
  queue.arrive(interactive(0), 0);
  queue.arrive(batch(1), 0);
  let running = 0;
  let interactiveGrants = 1;
  for (let id = 2; running !== 1; id++) {
    queue.arrive(interactive(id), 0);
    running = queue.release(running, 0).admitted[0]!;
    if (running !== 1) interactiveGrants++;
    t.true(interactiveGrants <= BATCH_TURN);
  }
  t.is(interactiveGrants, BATCH_TURN);
});

test("one that can't start before its deadline by the measured time is refused at once", (t) => {
  const queue = new AdmissionQueue({ slots: 1, queueMax: 8 });
  queue.arrive(interactive(0), 0);
  queue.release(0, 1000); // one request keeps its slot for 1000 ms
  queue.arrive(interactive(1), 1000);
  t.deepEqual(queue.arrive(interactive(2, 1500), 1000), {
    kind: "rejected",
    reason: "too-late",
    retryAfterMs: 1000,
  });
  t.is(queue.arrive(interactive(3, 2500), 1000).kind, "queued");
  const behind = queue.arrive(interactive(4, 2500), 1000);
  t.like(behind, { kind: "rejected", reason: "too-late", retryAfterMs: 2000 });
});

test("one whose first token can't come before its deadline is refused", (t) => {
  const queue = new AdmissionQueue({ slots: 1, queueMax: 8 });
  const slow = (id: number, deadlineMs: number) => ({
    ...interactive(id, deadlineMs),
    leastMs: 60,
  });
  t.like(queue.arrive(slow(0, 50), 0), { kind: "rejected", reason: "too-late" });
  t.is(queue.arrive(slow(1, 60), 0).kind, "admitted");
  queue.release(1, 100);
  queue.arrive(interactive(2), 100);
  t.like(queue.arrive(slow(3, 250), 100), { kind: "rejected", reason: "too-late" });
  t.is(queue.arrive(slow(4, 260), 100).kind, "queued");
});

test("retryAfterMs grows with the queue and shrinks with the slots", (t) => {
  const retryOf = (slots: number, queueMax: number): number => {
    const queue = new AdmissionQueue({ slots, queueMax });
    queue.arrive(interactive(0), 0);
    queue.release(0, 4000);
    let last: Arrival = { kind: "admitted" };
    for (let id = 1; last.kind !== "rejected"; id++) last = queue.arrive(interactive(id), 4000);
    return last.retryAfterMs;
  };
  t.is(retryOf(1, 1), 8000);
  t.is(retryOf(1, 3), 16_000);
  t.is(retryOf(4, 3), 4000);
  t.is(retryOf(1, 100), 60_000);
});

test("a deadline that passes in the queue evicts, and frees its place", (t) => {
  const queue = new AdmissionQueue({ slots: 1, queueMax: 1 });
  queue.arrive(interactive(0), 0);
  queue.arrive(interactive(1, 50), 0);
  t.is(queue.nextDeadlineMs, 50);
  t.deepEqual(queue.expire(49), { admitted: [], evicted: [] });
  t.deepEqual(queue.expire(50), { admitted: [], evicted: [1] });
  t.is(queue.nextDeadlineMs, forever);
  t.is(queue.arrive(interactive(2), 50).kind, "queued");
});

test("more slots admit those who wait; fewer let the active ones end first", (t) => {
  const queue = new AdmissionQueue({ slots: 1, queueMax: 4 });
  for (let id = 0; id < 4; id++) queue.arrive(interactive(id), 0);
  t.deepEqual(queue.resize(3, 0), { admitted: [1, 2], evicted: [] });
  t.deepEqual(queue.resize(1, 0), { admitted: [], evicted: [] });
  t.deepEqual(queue.release(0, 0).admitted, []);
  t.deepEqual(queue.release(1, 0).admitted, []);
  t.deepEqual(queue.release(2, 0).admitted, [3]);
});

type Step =
  | {
      readonly kind: "arrive";
      readonly isBatch: boolean;
      readonly patienceMs: number;
      readonly tenant: string;
    }
  | { readonly kind: "release" | "withdraw"; readonly pick: number }
  | { readonly kind: "resize"; readonly slots: number }
  | { readonly kind: "expire" };

const pick = fc.nat(50);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("arrive" as const),
      isBatch: fc.boolean(),
      patienceMs: fc.oneof(fc.constant(forever), fc.nat(200)),
      tenant: fc.constantFrom("", "a", "b", "c"),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("release" as const), pick }) },
  fc.record({ kind: fc.constant("withdraw" as const), pick }),
  fc.record({ kind: fc.constant("resize" as const), slots: fc.integer({ min: 1, max: 5 }) }),
  fc.record({ kind: fc.constant("expire" as const) }),
);

/** Plays a history and keeps its own account of who is where. */
class Account {
  readonly queue: AdmissionQueue;
  readonly active = new Set<number>();
  readonly waiting = new Map<number, Ticket>();
  nowMs = 0;
  #nextId = 0;

  constructor(slots: number, queueMax: number) {
    this.queue = new AdmissionQueue({ slots, queueMax });
  }

  play(step: Step): void {
    this.nowMs += 10;
    if (step.kind === "arrive") this.#arrive(step);
    else if (step.kind === "release") this.#release(step.pick);
    else if (step.kind === "withdraw") this.#withdraw(step.pick);
    else if (step.kind === "resize") this.#took(this.queue.resize(step.slots, this.nowMs));
    else this.#took(this.queue.expire(this.nowMs));
  }

  #arrive({ isBatch, patienceMs, tenant }: Step & { kind: "arrive" }): void {
    const make = isBatch ? batch : interactive;
    const ticket = make(this.#nextId++, this.nowMs + patienceMs, tenant);
    const arrival = this.queue.arrive(ticket, this.nowMs);
    if (arrival.kind === "admitted") this.active.add(ticket.id);
    if (arrival.kind !== "queued") return;
    if (arrival.displaced !== null) this.#displaced(arrival.displaced, ticket);
    this.waiting.set(ticket.id, ticket);
  }

  /** Its tenant had more in the queue than the newcomer's, and it was the newest of its kind. */
  #displaced(id: number, by: Ticket): void {
    const gone = this.waiting.get(id);
    if (gone === undefined) throw new Error(`displaced ${id}, which didn't wait`);
    const of = (tenant: string) => [...this.waiting.values()].filter((t) => t.tenant === tenant);
    if (of(gone.tenant).length <= of(by.tenant).length + 1) throw new Error(`displaced ${id}`);
    const newer = of(gone.tenant).some((t) => t.priority === gone.priority && t.id > id);
    if (newer) throw new Error(`displaced ${id}, which wasn't the newest`);
    this.waiting.delete(id);
  }

  #release(pick: number): void {
    const id = [...this.active][pick % Math.max(1, this.active.size)];
    if (id === undefined) return;
    this.active.delete(id);
    this.#took(this.queue.release(id, this.nowMs));
  }

  #withdraw(pick: number): void {
    const id = [...this.waiting.keys()][pick % Math.max(1, this.waiting.size)];
    if (id === undefined) return;
    if (!this.queue.withdraw(id)) throw new Error(`${id} was waiting`);
    this.waiting.delete(id);
  }

  #took({ admitted, evicted }: QueueChange): void {
    for (const id of evicted) {
      const ticket = this.waiting.get(id);
      if (ticket === undefined || ticket.deadlineMs > this.nowMs) throw new Error(`evicted ${id}`);
      this.waiting.delete(id);
    }
    for (const id of admitted) {
      const ticket = this.waiting.get(id);
      if (ticket === undefined) throw new Error(`admitted ${id}, which didn't wait`);
      for (const other of this.waiting.values()) {
        const isAlike = other.priority === ticket.priority && other.tenant === ticket.tenant;
        const isOvertaken = isAlike && other.id < id;
        if (isOvertaken) throw new Error(`${id} overtook ${other.id}`);
      }
      this.waiting.delete(id);
      this.active.add(id);
    }
  }
}

test("in any history bounds hold, nobody is lost or overtaken, no slot idles needlessly", (t) => {
  const histories = fc.tuple(
    fc.integer({ min: 1, max: 4 }),
    fc.nat(5),
    fc.array(step, { maxLength: 80 }),
  );
  fc.assert(
    fc.property(histories, ([slots, queueMax, steps]) => {
      const account = new Account(slots, queueMax);
      for (const each of steps) {
        const before = account.active.size;
        account.play(each);
        const { queue, active, waiting } = account;
        if (queue.active !== active.size || queue.queued !== waiting.size) return false;
        if (queue.active > Math.max(queue.slots, before)) return false;
        if (queue.queued > queueMax) return false;
        if (queue.queued > 0 && queue.active < queue.slots) return false;
      }
      return true;
    }),
    { seed: 20_26, numRuns: 1000 },
  );
  t.pass();
});
