// Tenants share the slots by what they use, whoever sends more.
import test from "ava";
import fc from "fast-check";
import { AdmissionQueue, type Ticket } from "../../../edge-node/admission/admission-queue.ts";
import { TENANTS_MAX } from "../../../edge-node/admission/tenant-shares.ts";
import { seededRandom } from "../../../sync/formats/seeded-random.ts";

const ticket = (id: number, tenant: string, isBatch = false): Ticket => ({
  id,
  priority: isBatch ? "batch" : "interactive",
  tenant,
  deadlineMs: Number.POSITIVE_INFINITY,
  leastMs: 0,
});

interface Workload {
  readonly slots: number;
  /** Service time by tenant, in milliseconds. */
  readonly serviceMs: Readonly<Record<string, () => number>>;
  readonly durationMs: number;
}

/** Every tenant always has requests waiting; returns the slot time that each got. */
function playBacklogged({ slots, serviceMs, durationMs }: Workload): Map<string, number> {
  const queue = new AdmissionQueue({ slots, queueMax: 1000 });
  const tenants = Object.keys(serviceMs);
  const used = new Map(tenants.map((tenant) => [tenant, 0]));
  const owner = new Map<number, string>();
  const ends: { id: number; atMs: number }[] = [];
  let nextId = 0;
  const start = (id: number, nowMs: number) => {
    const tenant = owner.get(id)!;
    const tookMs = serviceMs[tenant]!();
    ends.push({ id, atMs: nowMs + tookMs });
    used.set(tenant, used.get(tenant)! + tookMs);
  };
  const add = (tenant: string, nowMs: number) => {
    const id = nextId++;
    owner.set(id, tenant);
    if (queue.arrive(ticket(id, tenant), nowMs).kind === "admitted") start(id, nowMs);
  };
  // What a request takes is measured before the count begins.
  queue.arrive(ticket(nextId, "before"), 0);
  queue.release(nextId++, 10);
  for (let k = 0; k < 4 * slots; k++) for (const tenant of tenants) add(tenant, 10);
  for (;;) {
    ends.sort((a, b) => a.atMs - b.atMs || a.id - b.id);
    const end = ends.shift()!;
    if (end.atMs > durationMs) return used;
    for (const id of queue.release(end.id, end.atMs).admitted) start(id, end.atMs);
    add(owner.get(end.id)!, end.atMs);
  }
}

test("backlogged tenants get equal slot time, however long their requests are", (t) => {
  const workloads = fc.record({
    slots: fc.integer({ min: 1, max: 8 }),
    longMs: fc.integer({ min: 1, max: 50 }),
    shortMs: fc.integer({ min: 1, max: 50 }),
    seed: fc.nat(),
  });
  fc.assert(
    fc.property(workloads, ({ slots, longMs, shortMs, seed }) => {
      const random = seededRandom(seed);
      const around = (meanMs: number) => () => Math.ceil(meanMs * (0.5 + random.next()));
      const serviceMs = { a: around(longMs), b: around(shortMs), c: around(longMs) };
      const used = [...playBacklogged({ slots, serviceMs, durationMs: 3000 }).values()];
      const difference = Math.max(...used) - Math.min(...used);
      // One request of each in every slot: what a grant will take is known when it has ended.
      const bound = 2 * (slots + 1) * Math.max(longMs, shortMs, 10);
      return difference <= bound;
    }),
    { seed: 11, numRuns: 60 },
  );
  t.pass();
});

test("a newcomer is next but one, whatever a noisy tenant has waiting", (t) => {
  for (const backlog of [1, 10, 100]) {
    const queue = new AdmissionQueue({ slots: 1, queueMax: 1000 });
    for (let id = 0; id <= backlog; id++) queue.arrive(ticket(id, "noisy"), 0);
    const arrival = queue.arrive(ticket(500, "quiet"), 0);
    t.like(arrival, { kind: "queued", ahead: 0 });
    const order = [...queue.release(0, 10).admitted, ...queue.release(1, 20).admitted];
    t.true(order.includes(500), `behind ${backlog}`);
  }
});

test("who waits behind a noisy tenant is judged by its own turn, not by the whole queue", (t) => {
  const queue = new AdmissionQueue({ slots: 1, queueMax: 1000 });
  queue.arrive(ticket(0, "noisy"), 0);
  queue.release(0, 100); // a request takes 100 ms
  for (let id = 1; id <= 50; id++) queue.arrive(ticket(id, "noisy"), 100);
  const urgent = { deadlineMs: 100 + 250 };
  t.like(queue.arrive({ ...ticket(60, "noisy"), ...urgent }, 100), { reason: "too-late" });
  t.is(queue.arrive({ ...ticket(61, "quiet"), ...urgent }, 100).kind, "queued");
});

test("a pause earns no credit: the returning tenant takes turns, it doesn't take over", (t) => {
  const queue = new AdmissionQueue({ slots: 1, queueMax: 1000 });
  let nowMs = 0;
  queue.arrive(ticket(0, "back"), nowMs);
  nowMs += 10;
  queue.release(0, nowMs);
  let running = 1;
  queue.arrive(ticket(running, "steady"), nowMs);
  for (let id = 2; id < 200; id++) {
    queue.arrive(ticket(id, "steady"), nowMs);
    nowMs += 10;
    running = queue.release(running, nowMs).admitted[0]!;
  }
  for (let id = 200; id < 240; id++) {
    queue.arrive(ticket(id, id % 2 === 0 ? "back" : "steady"), nowMs);
  }
  let ofBack = 0;
  for (let grants = 0; grants < 20; grants++) {
    nowMs += 10;
    running = queue.release(running, nowMs).admitted[0]!;
    if (running >= 200 && running % 2 === 0) ofBack++;
  }
  t.true(ofBack >= 9 && ofBack <= 11, `${ofBack} of 20`);
});

test("a full queue makes room for a tenant that has less in it, for no other", (t) => {
  const queue = new AdmissionQueue({ slots: 1, queueMax: 4 });
  for (let id = 0; id <= 4; id++) queue.arrive(ticket(id, "noisy"), 0);
  t.like(queue.arrive(ticket(5, "noisy"), 0), { kind: "rejected", reason: "full" });
  t.like(queue.arrive(ticket(6, "quiet"), 0), { kind: "queued", displaced: 4 });
  t.like(queue.arrive(ticket(7, "quiet"), 0), { kind: "queued", displaced: 3 });
  t.like(queue.arrive(ticket(8, "quiet"), 0), { kind: "rejected", reason: "full" });
  t.like(queue.arrive(ticket(9, "third"), 0), { kind: "queued", displaced: 2 });
  t.is(queue.queued, 4);
  t.false(queue.withdraw(3), "its wait is over");
});

test("batch makes room before interactive does, and batch never displaces interactive", (t) => {
  const queue = new AdmissionQueue({ slots: 1, queueMax: 4 });
  queue.arrive(ticket(0, "noisy"), 0);
  for (const id of [1, 2]) queue.arrive(ticket(id, "noisy", true), 0);
  for (const id of [3, 4]) queue.arrive(ticket(id, "noisy"), 0);
  t.like(queue.arrive(ticket(5, "quiet"), 0), { kind: "queued", displaced: 2 });
  t.like(queue.arrive(ticket(6, "third", true), 0), { kind: "queued", displaced: 1 });
  t.like(queue.arrive(ticket(7, "fourth", true), 0), { kind: "rejected", reason: "full" });
});

test("more tenants than are told apart still all get served", (t) => {
  const queue = new AdmissionQueue({ slots: 1, queueMax: 1000 });
  const count = 4 * TENANTS_MAX;
  for (let id = 0; id < count; id++) queue.arrive(ticket(id, `tenant-${id}`), 0);
  const served = new Set([0]);
  let running = 0;
  for (let grants = 1; grants < count; grants++) {
    running = queue.release(running, grants).admitted[0]!;
    served.add(running);
  }
  t.is(served.size, count);
  t.is(queue.queued, 0);
});
