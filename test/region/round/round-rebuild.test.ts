// A round summed again without an edge, over real NATS: as if that edge had never taken part.
import { join } from "node:path";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import test from "ava";
import {
  RebuildReplySchema,
  RebuildRequestSchema,
} from "../../../proto/gen/isthmus/v1/removal_pb.ts";
import type { RoundOffer } from "../../../proto/gen/isthmus/v1/rounds_pb.ts";
import { regionId } from "../../../proto/ids.ts";
import { subjects } from "../../../proto/subjects.ts";
import { openSigningKey } from "../../../sync/delta/signing-key.ts";
import { eventually } from "../../support/eventually.ts";
import { linkedNats } from "../../support/linked-nats.ts";
import {
  acceptTraining,
  adapterOf,
  handIn,
  MODEL,
  offerOf,
  type RunningRegion,
  signedDelta,
  startRegion,
} from "./round-fixture.ts";

const region = regionId("us");
const { dir, nats } = await linkedNats();
const names = ["us-1", "us-2", "us-3"];
const keys = names.map((edge) => openSigningKey(join(dir, `${edge}.pem`)));
const members = names.map((edge, i) => ({ edge, models: [MODEL], publicKey: keys[i]!.publicKey }));

acceptTraining(nats, region, names);

/** A round in which these edges handed in their deltas. */
async function playRound(running: RunningRegion, offer: RoundOffer, edges: readonly string[]) {
  await running.rounds.offer(offer);
  for (const edge of edges) {
    const i = names.indexOf(edge);
    const delta = signedDelta(offer, edge, keys[i]!, adapterOf(i + 1), { examples: 10 * (i + 1) });
    await handIn(running.http, delta);
  }
  return await eventually("the round is done", async () => {
    const status = await running.rounds.offer(offer);
    return status.done && status;
  });
}

async function rebuild(request: MessageInitShape<typeof RebuildRequestSchema>) {
  const body = toBinary(RebuildRequestSchema, create(RebuildRequestSchema, request));
  return fromBinary(
    RebuildReplySchema,
    await nats.request(subjects.roundRebuild(region), body, 5000),
  );
}

test.serial(
  "without an edge the sum is what it would have been had it not taken part",
  async (t) => {
    const ready = { all: members };
    const running = await startRegion(join(dir, "a"), nats, () => ready.all);
    t.teardown(() => running.stop());
    await playRound(running, offerOf({ campaign: "whole", quorum: 3 }), names);
    const rebuilt = await rebuild({ campaign: "whole", round: 1, without: ["us-2"] });
    t.like(rebuilt, { region: "us", http: running.http, reason: "" });
    t.like(rebuilt.partial, { weight: 40, count: 2, contributors: ["us-1", "us-3"] });
    t.true(running.store.has(rebuilt.partial!.artifact!.sha256 as never));
    const again = await rebuild({ campaign: "whole", round: 1, without: ["us-2"] });
    t.is(again.partial!.artifact!.sha256, rebuilt.partial!.artifact!.sha256, "the same bytes");

    // Elsewhere, where nothing counted before: the same deltas from the start without that edge.
    const other = await startRegion(join(dir, "b"), nats, () =>
      members.filter((one) => one.edge !== "us-2"),
    );
    t.teardown(() => other.stop());
    const status = await playRound(other, offerOf({ campaign: "without", quorum: 2 }), [
      "us-1",
      "us-3",
    ]);
    t.is(status.partial!.artifact!.sha256, rebuilt.partial!.artifact!.sha256);
  },
);

test.serial("what can't be rebuilt is refused by name", async (t) => {
  const running = await startRegion(join(dir, "c"), nats, () => members);
  t.teardown(() => running.stop());
  const lone = { campaign: "lone", round: 1 };
  t.regex((await rebuild({ ...lone, without: ["us-1"] })).reason, /aren't kept any more/);
  await running.rounds.offer(offerOf({ campaign: "lone", quorum: 1 }));
  t.regex((await rebuild({ ...lone, without: ["us-1"] })).reason, /isn't over/);
  await playRound(running, offerOf({ campaign: "lone", quorum: 1 }), names);
  const empty = await rebuild({ ...lone, without: names });
  t.is(empty.partial, undefined);
  t.is(empty.reason, "", "nothing is left, and nothing is wrong");
});
