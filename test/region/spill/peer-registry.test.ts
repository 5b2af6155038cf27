// What is known of the other regions, and the way to one whose trunk is not up.
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import test from "ava";
import { RegionSummarySchema } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { regionId } from "../../../proto/ids.ts";
import { subjects } from "../../../proto/subjects.ts";
import { PeerRegistry } from "../../../region/spill/peer-registry.ts";
import { silentLog } from "../../../runtime/log.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { type FakeTrunk, fakeTrunk } from "../fake-trunk.ts";

function registry() {
  const trunks = new Map<string, FakeTrunk>();
  const clock = new ManualClock();
  const openTrunk = (address: string) => {
    const trunk = fakeTrunk(address);
    trunks.set(address, trunk);
    return trunk;
  };
  const options = { region: regionId("us"), clock, log: silentLog(), openTrunk, peers: [] };
  const peers = new PeerRegistry(options);
  let sequence = 0n;
  const tell = (region: string, init: MessageInitShape<typeof RegionSummarySchema> = {}) => {
    sequence += 1n;
    const grpc = `127.0.0.1:${region.charCodeAt(0)}`;
    const summary = create(RegionSummarySchema, {
      region,
      grpc,
      incarnation: 1n,
      sequence,
      ...init,
    });
    const subject = subjects.summary(regionId(region));
    const refused = peers.takeSummary(subject, toBinary(RegionSummarySchema, summary));
    if (refused !== null) throw new Error(refused);
    return trunks.get(grpc)!;
  };
  return { clock, peers, tell };
}

const models = [{ model: "m", edgesReady: 1 }];
const viewOf = (peers: PeerRegistry, target: string) =>
  [...peers.views("m")].find((view) => view.target === target);

test("a region whose trunk is not up is seen by way of the nearest one that reaches it", (t) => {
  const { peers, tell } = registry();
  tell("eu", { models, labels: { jurisdictions: ["gdpr"] } });
  t.like(viewOf(peers, "eu"), { region: "eu", connected: false });
  const far = tell("ap", { rttMs: { eu: 100 }, labels: { jurisdictions: ["ap"] } });
  far.rttMs = 50;
  t.like(viewOf(peers, "eu"), { region: "eu", connected: false }, "the trunk to ap isn't up");
  far.become("up");
  t.like(viewOf(peers, "eu"), {
    ...{ region: "ap", key: "ap/", target: "eu", connected: true, rttMs: 150 },
    ...{ jurisdictions: ["gdpr"], viaJurisdictions: ["ap"] },
  });
  const near = tell("sa", { rttMs: { eu: 20 } });
  near.rttMs = 30;
  near.become("up");
  t.like(viewOf(peers, "eu"), { region: "sa", rttMs: 50, viaJurisdictions: null });
  t.deepEqual(peers.rtts(), { ap: 50, sa: 30 });
});

test("what is spilled counts until the region's next word, and its end after that", (t) => {
  const { peers, tell } = registry();
  tell("eu", { models });
  const sent = () => viewOf(peers, "eu")?.sentSince;
  const done = [peers.ledger.begin("eu", "m"), peers.ledger.begin("eu", "m")];
  t.is(sent(), 2);
  tell("eu", { models });
  t.is(sent(), 0);
  done[0]?.();
  done[0]?.();
  t.is(sent(), -1, "ended once, and the region has not said so yet");
  tell("eu", { models });
  t.is(sent(), 0);
});

test("a region that has gone silent stands as known but not as fresh", (t) => {
  const { clock, peers, tell } = registry();
  tell("eu", { models, incarnation: 7n, labels: { jurisdictions: ["gdpr"] } }).become("up");
  t.like([...peers.standings()][0], { region: "eu", incarnation: 7n, connected: true });
  clock.advance(5001);
  t.like([...peers.standings()][0], { incarnation: null, jurisdictions: ["gdpr"] });
  t.is(viewOf(peers, "eu")?.model, "untold");
});
