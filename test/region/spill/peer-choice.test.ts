// Where a request may spill to: never where it has been, never beyond two hops.
import test from "ava";
import {
  assessPeer,
  choosePeer,
  HOPS_MAX,
  type PeerView,
  passedRegions,
} from "../../../region/spill/peer-choice.ts";

const none: ReadonlySet<string> = new Set();
const first = () => 0;

function peer(region: string, init: Partial<PeerView> = {}): PeerView {
  const model = { predictedTtftMs: 20 };
  return { region, key: `${region}/`, connected: true, rttMs: 5, penaltyMs: 0, model, ...init };
}

test("however regions pass a request on, it comes nowhere twice and leaves two at most", (t) => {
  const regions = ["a", "b", "c", "d", "e"];
  for (const start of regions) {
    const walk = (visited: readonly string[], at: string): void => {
      const passed = passedRegions(visited, at);
      t.is(new Set(passed).size, passed.length);
      t.true(passed.length <= HOPS_MAX + 1);
      for (const view of regions.map((region) => peer(region))) {
        if (assessPeer(view, passed, none).kind === "candidate") walk(passed, view.region);
      }
    };
    walk([], start);
  }
});

test("an edge that names its own region as passed costs the request no hop", (t) => {
  t.deepEqual(passedRegions(["us"], "us"), ["us"]);
});

test("the nearest to a first token is taken; what is down, empty or tried is not", (t) => {
  const far = peer("far", { rttMs: 200 });
  const near = peer("near");
  const choose = (views: PeerView[], excluded = none) =>
    choosePeer(views, ["us"], excluded, first)?.region;
  t.is(choose([far, near]), "near");
  t.is(choose([far, peer("near", { connected: false })]), "far");
  t.is(choose([far, peer("near", { model: null })]), "far");
  t.is(choose([far, near], new Set(["near/"])), "far");
  t.is(choose([far, peer("near", { penaltyMs: 2000 })]), "far");
  t.is(choose([far, peer("near", { model: "untold" })]), "far");
  t.is(choose([peer("near", { model: "untold" })]), "near");
  t.is(choose([]), undefined);
});
