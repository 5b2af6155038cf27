// Where a request may spill to: by the same prediction as to an edge, never where it has been,
// never beyond two hops, never where its rules forbid.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import { PolicySchema } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import {
  assessPeers,
  choosePeer,
  HOPS_MAX,
  type PeerCandidate,
  type PeerView,
  passedRegions,
  type SpillRequest,
  spillPays,
} from "../../../region/spill/peer-choice.ts";
import type { PeerModel } from "../../../region/spill/spill-prediction.ts";
import { seededRandom } from "../../../sync/formats/seeded-random.ts";

const none: ReadonlySet<string> = new Set();
const first = () => 0;
const size: SpillRequest = {
  ...{ model: "m", version: "", promptTokens: 100, expectedTokens: 100, policy: undefined },
};

function modelOf(init: Partial<PeerModel> = {}): PeerModel {
  return {
    ...{ version: "m@1", edgesReady: 2, edgesWithGpu: 0, slots: 8, freeSlots: 8, queueMs: 0 },
    ...{ prefillTokensPerS: 1000, decodeTokensPerS: 100 },
    ...init,
  };
}

function peer(region: string, init: Partial<PeerView> = {}): PeerView {
  return {
    ...{ region, key: `${region}/`, target: region, connected: true, rttMs: 5, penaltyMs: 0 },
    ...{ sentSince: 0, jurisdictions: [], viaJurisdictions: [], model: modelOf() },
    ...init,
  };
}

const targetOf = (views: PeerView[], request = size, excluded = none) =>
  choosePeer(views, request, ["us"], excluded, first)?.peer.target;

const rejectionOf = (view: PeerView, request = size, passed: string[] = ["us"]) => {
  const [assessment] = assessPeers([view], request, passed, none);
  return assessment?.kind === "rejected" ? assessment.rejection : assessment?.kind;
};

test("however regions pass a request on, it comes nowhere twice and leaves two at most", (t) => {
  const regions = ["a", "b", "c", "d", "e"];
  const views = regions.flatMap((target) =>
    regions.map((region) => peer(region, { key: `${region}/`, target })),
  );
  let walks = 0;
  for (const start of regions) {
    const walk = (visited: readonly string[], at: string): void => {
      const passed = passedRegions(visited, at);
      t.is(new Set(passed).size, passed.length);
      t.true(passed.length <= HOPS_MAX + 1);
      walks += 1;
      for (const assessment of assessPeers(views, size, passed, none)) {
        // The next gateway on the way decides anew, whatever the target was.
        if (assessment.kind === "candidate") walk(passed, assessment.peer.region);
      }
    };
    walk([], start);
  }
  t.true(walks > regions.length);
});

test("an edge that names its own region as passed costs the request no hop", (t) => {
  t.deepEqual(passedRegions(["us"], "us"), ["us"]);
});

test("what is down, empty or tried is no candidate, and what failed lately is a worse one", (t) => {
  const far = peer("far", { rttMs: 200 });
  const near = peer("near");
  t.is(targetOf([far, near]), "near");
  t.is(targetOf([far, peer("near", { connected: false })]), "far");
  t.is(targetOf([far, peer("near", { model: null })]), "far");
  t.is(targetOf([far, near], size, new Set(["near/"])), "far");
  t.is(targetOf([far, peer("near", { penaltyMs: 2000 })]), "far");
  t.is(targetOf([far, peer("near", { model: "untold" })]), "far");
  t.is(targetOf([peer("near", { model: "untold" })]), "near");
  t.is(targetOf([]), undefined);
});

test("a far idle region beats a near full one, until the way costs more than the queue", (t) => {
  const near = peer("near", { model: modelOf({ freeSlots: 0, queueMs: 400 }) });
  t.is(targetOf([near, peer("far", { rttMs: 200 })]), "far");
  t.is(targetOf([near, peer("far", { rttMs: 900 })]), "near");
});

test("a slow region near by loses a long answer and keeps a short one", (t) => {
  const near = peer("near", { model: modelOf({ decodeTokensPerS: 50 }) });
  const far = peer("far", { rttMs: 300, model: modelOf({ decodeTokensPerS: 100 }) });
  t.is(targetOf([near, far], { ...size, expectedTokens: 4 }), "near");
  t.is(targetOf([near, far], { ...size, expectedTokens: 400 }), "far");
});

test("a long prompt goes where prompts are read fast", (t) => {
  const near = peer("near", { model: modelOf({ prefillTokensPerS: 200 }) });
  const far = peer("far", { rttMs: 300, model: modelOf({ prefillTokensPerS: 2000 }) });
  t.is(targetOf([near, far], { ...size, promptTokens: 10 }), "near");
  t.is(targetOf([near, far], { ...size, promptTokens: 1000 }), "far");
});

test("what was spilled since a region's last word counts, before it says so itself", (t) => {
  const views = (sentSince: number) => [peer("near", { sentSince }), peer("far", { rttMs: 150 })];
  t.is(targetOf(views(0)), "near");
  t.is(targetOf(views(1)), "near", "there are eight free slots");
  t.is(targetOf(views(16)), "far");
});

test("among near-equal regions one is taken at random, so that gateways don't herd", (t) => {
  const views = [peer("a", { rttMs: 5 }), peer("b", { rttMs: 10 }), peer("c", { rttMs: 900 })];
  const random = seededRandom(3).next;
  const taken = new Map<string, number>();
  for (let round = 0; round < 200; round += 1) {
    const target = choosePeer(views, size, ["us"], none, random)?.peer.target ?? "";
    taken.set(target, (taken.get(target) ?? 0) + 1);
  }
  t.deepEqual([...taken.keys()].sort(), ["a", "b"]);
  t.true(Math.min(...taken.values()) > 50);
});

test("a residency rule goes by name and by label, and what isn't known isn't there", (t) => {
  const eu = peer("eu", { jurisdictions: ["gdpr", "eu"] });
  const ap = peer("ap", { jurisdictions: ["ap"], rttMs: 0 });
  const under = (init: { regions?: string[]; jurisdictions?: string[] }) => ({
    ...size,
    policy: create(PolicySchema, init),
  });
  t.is(targetOf([eu, ap], under({ regions: ["eu"] })), "eu");
  t.is(targetOf([eu, ap], under({ jurisdictions: ["gdpr"] })), "eu");
  t.is(targetOf([ap], under({ regions: ["eu"] })), undefined);
  const unknown = peer("eu", { jurisdictions: null, model: "untold" });
  t.is(rejectionOf(unknown, under({ jurisdictions: ["gdpr"] })), "residency");
  t.is(targetOf([unknown], under({ regions: ["eu"] })), "eu", "its name is all that is asked");
});

test("a region beyond a cut is reached through another, within the hops and the rules", (t) => {
  const via = (init: Partial<PeerView> = {}) =>
    peer("ap", { target: "eu", jurisdictions: ["gdpr"], viaJurisdictions: ["ap"], ...init });
  t.is(targetOf([via(), peer("ap", { model: null })]), "eu");
  t.is(rejectionOf(via(), size, ["us", "sa"]), "hops");
  t.is(rejectionOf(peer("ap"), size, ["us", "sa"]), "candidate");
  t.is(rejectionOf(via(), size, ["ap", "us"]), "passed");
  const policy = create(PolicySchema, { jurisdictions: ["gdpr"] });
  t.is(rejectionOf(via(), { ...size, policy }), "link-down", "the prompt would pass through ap");
  t.is(rejectionOf(via({ viaJurisdictions: ["gdpr"] }), { ...size, policy }), "candidate");
});

test("a request for a GPU goes to no region without one", (t) => {
  const policy = create(PolicySchema, { gpuRequired: true });
  t.is(rejectionOf(peer("eu"), { ...size, policy }), "no-gpu");
  const withGpu = peer("eu", { model: modelOf({ edgesWithGpu: 1 }) });
  t.is(rejectionOf(withGpu, { ...size, policy }), "candidate");
});

test("what could be served here leaves only for a fifth less and 50 ms, and only once", (t) => {
  const [candidate] = assessPeers([peer("eu")], size, ["us"], none) as PeerCandidate[];
  const totalMs = candidate!.totalMs;
  const pays = (ownMs: number, passed: string[] = ["us"]) => spillPays(ownMs, candidate!, passed);
  t.true(totalMs > 1000);
  t.false(pays(totalMs));
  t.false(pays(totalMs * 1.2));
  t.true(pays(totalMs * 1.26));
  t.false(pays(totalMs * 1.26, ["ap", "us"]));
  t.false(spillPays(60, { ...candidate!, totalMs: 20 }, ["us"]), "40 ms are not worth it");
});
