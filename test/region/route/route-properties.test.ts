// Laws of the choice, against a slow reference that knows nothing of columns: whatever the edges
// say and whatever was sent, the choice is nearly the best and explains itself.
import test from "ava";
import fc from "fast-check";
import { ModelStatus } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { anyPolicy, plainRequest, type RouteRequest } from "../../../region/route/route-request.ts";
import { FAULTS_MAX, HOLD_MS } from "../../../region/route/track-record.ts";
import { seededRandom } from "../../../sync/formats/seeded-random.ts";
import { type EdgeFields, gpu, labels, RoutingFixture } from "./routing-fixture.ts";

const EPSILON = 1e-6;
const REGION = { jurisdictions: ["gdpr"], gramsCo2PerKwh: 300 };

const edgeFields = fc.record({
  rttMs: fc.integer({ min: 0, max: 200 }),
  slots: fc.integer({ min: 1, max: 8 }),
  active: fc.integer({ min: 0, max: 8 }),
  queued: fc.integer({ min: 0, max: 4 }),
  queueMax: fc.integer({ min: 0, max: 4 }),
  prefillTokensPerS: fc.integer({ min: 10, max: 2000 }),
  decodeTokensPerS: fc.integer({ min: 1, max: 100 }),
  remainingTokensMean: fc.integer({ min: 1, max: 200 }),
  version: fc.constantFrom("m@1", "m@2"),
  isStored: fc.boolean(),
  hasGpu: fc.boolean(),
  isPreemptible: fc.boolean(),
  watts: fc.constantFrom(0, 100, 400),
  status: fc.constantFrom("ready" as const, "ready" as const, "draining" as const),
  sent: fc.array(fc.integer({ min: 1, max: 2000 }), { maxLength: 3 }),
});
type Edge = typeof edgeFields extends fc.Arbitrary<infer T> ? T : never;

const requests: fc.Arbitrary<RouteRequest> = fc
  .record({
    promptTokens: fc.integer({ min: 1, max: 4000 }),
    expectedTokens: fc.integer({ min: 1, max: 500 }),
    version: fc.constantFrom("", "", "m@1"),
    preferredVersion: fc.constantFrom("", "m@2"),
    head: fc.integer({ min: 0, max: 3 }),
    priority: fc.constantFrom("interactive" as const, "batch" as const),
    gpuRequired: fc.boolean(),
    msPerGram: fc.constantFrom(0, 500),
    regions: fc.constantFrom<string[]>([], [], ["us"], ["eu"]),
    jurisdictions: fc.constantFrom<string[]>([], [], ["gdpr"], ["other"]),
  })
  .map(({ head, gpuRequired, msPerGram, regions, jurisdictions, ...rest }) => ({
    ...plainRequest("m", 1),
    ...rest,
    blocks: [1, 2, 3].slice(0, head),
    policy: { ...anyPolicy, gpuRequired, msPerGram, regions, jurisdictions },
  }));

function fieldsOf(edge: Edge): EdgeFields {
  const { rttMs, isStored, hasGpu, isPreemptible: preemptible, watts } = edge;
  const { slots, active, queued, queueMax, version } = edge;
  const { prefillTokensPerS, decodeTokensPerS, remainingTokensMean } = edge;
  const status = isStored ? ModelStatus.STORED : ModelStatus.READY;
  const model = { slots, active, queued, queueMax, version, status, loadMs: 700 };
  return {
    rttMs,
    model: { ...model, prefillTokensPerS, decodeTokensPerS, remainingTokensMean },
    heartbeat: { gpus: hasGpu ? [gpu()] : [], ...labels({ watts, preemptible }) },
  };
}

/** Edges with what was sent to each, some of it with heads that the requests share. */
function build(edges: readonly Edge[]): RoutingFixture {
  const mesh = new RoutingFixture({}, REGION);
  for (const [k, edge] of edges.entries()) {
    mesh.add(`e${k}`, fieldsOf(edge));
    for (const promptTokens of edge.sent) {
      mesh.send(`e${k}`, { promptTokens, blocks: [1, 2].slice(0, promptTokens % 3) });
    }
    mesh.table.setStatus(`e${k}`, edge.status, "");
  }
  return mesh;
}

/** What the edge would take by the words of the design; null where it may not be taken. */
function reference(edge: Edge, request: RouteRequest): number | null {
  const { policy, promptTokens, expectedTokens } = request;
  if (policy.regions.includes("eu") || policy.jurisdictions.includes("other")) return null;
  if (edge.status !== "ready") return null;
  if (request.version !== "" && edge.version !== request.version) return null;
  if (policy.gpuRequired && !edge.hasGpu) return null;
  if (edge.isPreemptible && request.priority !== "batch") return null;
  const busy = edge.active + edge.queued + edge.sent.length;
  if (busy >= edge.slots + edge.queueMax) return null;
  const streams = Math.min(busy + 1, edge.slots);
  const seenAt = edge.active > 0 ? edge.active : 1;
  const seenMs = 1000 / edge.decodeTokensPerS;
  const stepMs = Math.max(seenMs + 0.05 * seenMs * (streams - seenAt), seenMs / 4);
  const turnMs = (edge.remainingTokensMean * stepMs) / edge.slots;
  const queueMs = Math.max(0, busy + 1 - edge.slots) * turnMs;
  // Each prompt that was sent held what the ones before it left there.
  let held = 0;
  let unread = 0;
  for (const tokens of edge.sent) {
    const head = tokens % 3;
    unread += Math.max(1, tokens - Math.min(Math.min(held, head) * 64, Math.max(0, tokens - 1)));
    held = Math.max(held, head);
  }
  const msPerToken = 1000 / edge.prefillTokensPerS;
  const loadMs = edge.isStored ? 700 : 0;
  const cached = Math.min(held, request.blocks.length) * 64;
  const readMs = Math.max(1, promptTokens - cached) * msPerToken;
  const generationMs = expectedTokens * stepMs;
  const versionMs =
    request.preferredVersion !== "" && edge.version !== request.preferredVersion ? 250 : 0;
  const grams = ((readMs + generationMs) * edge.watts * 300) / 3.6e9 / streams;
  const ttftMs = edge.rttMs + queueMs + loadMs + unread * msPerToken + readMs + stepMs;
  return ttftMs + generationMs + versionMs + policy.msPerGram * grams;
}

test("the choice is within ten per cent of the best that an exhaustive reference finds", (t) => {
  const random = fc.double({ min: 0, max: 0.999, noNaN: true });
  fc.assert(
    fc.property(
      fc.array(edgeFields, { minLength: 1, maxLength: 60 }),
      requests,
      random,
      (...all) => {
        const [edges, request, share] = all;
        const mesh = build(edges);
        const { chosen } = mesh.table.decide(request, 0, () => share);
        const totals = edges.map((edge) => reference(edge, request) ?? Infinity);
        const best = Math.min(...totals);
        if (chosen === null) {
          t.is(best, Infinity);
          return;
        }
        const expected = totals[Number(chosen.edge.slice(1))]!;
        t.true(Math.abs(chosen.totalMs - expected) < EPSILON * expected);
        t.true(chosen.totalMs <= best * 1.1 + EPSILON);
      },
    ),
    { seed: 11, numRuns: 2000 },
  );
});

test("the terms that are explained add up to the total that decides, and the same are out", (t) => {
  fc.assert(
    fc.property(
      fc.array(edgeFields, { minLength: 1, maxLength: 20 }),
      requests,
      (edges, request) => {
        const mesh = build(edges);
        const { chosen } = mesh.table.decide(request, 0, () => 0);
        const all = mesh.table.explain(request, 0);
        t.is(all.length, edges.length);
        for (const [k, one] of all.entries()) {
          t.is(one.kind === "rejected", reference(edges[k]!, request) === null);
          if (one.kind === "rejected") {
            t.not(one.reason, "");
            continue;
          }
          const { terms, totalMs, edge } = one.prediction;
          const sum = Object.values(terms).reduce((a, b) => a + b, 0);
          t.true(Math.abs(sum - totalMs) < EPSILON * Math.max(1, totalMs));
          if (edge === chosen?.edge) t.deepEqual(one.prediction, chosen);
        }
      },
    ),
    { seed: 12, numRuns: 500 },
  );
});

test("no request is served against its residency, wherever it was tried before", (t) => {
  const excluded = fc.uniqueArray(fc.constantFrom<string>("us/e0", "us/e1", "us/e2"));
  fc.assert(
    fc.property(
      fc.array(edgeFields, { maxLength: 6 }),
      requests,
      excluded,
      (edges, request, out) => {
        const mesh = build(edges);
        const { chosen } = mesh.table.decide(request, 0, () => 0.5, new Set(out));
        const { regions, jurisdictions } = request.policy;
        const isAllowed = !regions.includes("eu") && !jurisdictions.includes("other");
        if (chosen === null) return;
        t.true(isAllowed);
        t.false(out.includes(chosen.key));
      },
    ),
    { seed: 13, numRuns: 1000 },
  );
});

test("an edge that fails fast never gains traffic, however idle it looks", (t) => {
  const fleets = fc.record({
    peers: fc.integer({ min: 1, max: 6 }),
    gapMs: fc.integer({ min: 0, max: 500 }),
    slowness: fc.integer({ min: 1, max: 20 }),
  });
  fc.assert(
    fc.property(fleets, fc.integer(), ({ peers, gapMs, slowness }, seed) => {
      const mesh = new RoutingFixture({ bad: { model: { prefillTokensPerS: 1e5 } } });
      for (let k = 0; k < peers; k += 1) {
        mesh.add(`good${k}`, { model: { prefillTokensPerS: 1000 / slowness } });
      }
      const random = seededRandom(seed).next;
      const triedMs: number[] = [];
      for (let k = 0; k < 200; k += 1) {
        const edge = mesh.table.decide(plainRequest("m", 100), mesh.nowMs, random).chosen!.edge;
        if (edge === "bad") {
          triedMs.push(mesh.nowMs);
          mesh.fail("bad");
        } else mesh.answer(edge, 1);
        mesh.nowMs += gapMs;
      }
      for (let k = FAULTS_MAX; k < triedMs.length; k += 1) {
        const holdMs = HOLD_MS * 2 ** (k - FAULTS_MAX);
        t.true(triedMs[k]! - triedMs[k - 1]! >= holdMs, `${triedMs}`);
      }
      t.true(triedMs.length < 200 / (peers + 1), "it gets less than its share");
    }),
    { seed: 14, numRuns: 200 },
  );
});
