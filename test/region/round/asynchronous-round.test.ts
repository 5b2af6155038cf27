// FedBuff in a region: a round ends when its buffer is full, and a delta that comes later counts in
// the next one, once, and less for its age, however often the region is killed.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import test from "ava";
import {
  Bucket,
  type DeltaManifest,
  PartialSchema,
  type RoundOffer,
} from "../../../proto/gen/isthmus/v1/rounds_pb.ts";
import { carriedDeltas } from "../../../region/round/carried-deltas.ts";
import { admitDelta, decideRound, type RoundInput } from "../../../region/round/round-decision.ts";
import { decodeEvent, encodeEvent, type RoundEvent } from "../../../region/round/round-event.ts";
import { applyRoundEvent, foldRound, type RoundState } from "../../../region/round/round-state.ts";
import { openSigningKey } from "../../../sync/delta/signing-key.ts";
import { adapterOf, offerOf, signedDelta } from "./round-fixture.ts";

const dir = mkdtempSync(join(tmpdir(), "isthmus-asynchronous-"));
const key = openSigningKey(join(dir, "edge.pem"));
test.after.always(() => rmSync(dir, { recursive: true }));

const manifestOf = (offer: RoundOffer, edge: string, seed: number): DeltaManifest =>
  signedDelta(offer, edge, key, adapterOf(seed)).manifest;

/** A round with its log; what the log says is all that a killed region has. */
class Played {
  readonly log: RoundEvent[] = [];

  constructor(offer: RoundOffer, edges: readonly string[]) {
    this.log.push({ kind: "opened", atMs: 0, offer });
    for (const edge of edges) this.log.push({ kind: "invited", edge }, { kind: "accepted", edge });
  }

  get state(): RoundState {
    return foldRound(
      this.log.map((event) => decodeEvent(JSON.parse(JSON.stringify(encodeEvent(event))))),
    )!;
  }

  give(input: RoundInput, nowMs = 1): readonly string[] {
    const { events } = decideRound(this.state, input, nowMs);
    this.log.push(...events);
    return events.map(({ kind }) => kind);
  }
}

const edges = ["us-1", "us-2", "us-3"];
const roundOf = (round: number, asynchronous = true) =>
  new Played(offerOf({ campaign: "async", round, goal: 2, asynchronous }), edges);

/** Two of three deltas come in time. */
function closed(round: number, asynchronous = true): Played {
  const played = roundOf(round, asynchronous);
  const { offer } = played.state;
  for (const edge of edges.slice(0, 2)) {
    played.give({ kind: "delta", edge, manifest: manifestOf(offer, edge, round) });
  }
  return played;
}

test("a full buffer closes the round, and a late delta is carried over once", (t) => {
  const first = closed(1);
  t.is(first.state.phase, "closed");
  t.is(first.state.seats.get("us-3")!.bucket, Bucket.LATE);
  const manifest = manifestOf(first.state.offer, "us-3", 9);
  const digest = manifest.delta!.sha256;
  t.is(admitDelta(first.state, "us-3", digest, 2), "welcome");
  t.deepEqual(first.give({ kind: "delta", edge: "us-3", manifest }, 2), ["carried"]);
  t.is(admitDelta(first.state, "us-3", digest, 2), "duplicate");
  t.is(admitDelta(first.state, "us-3", "0".repeat(64), 2), "conflict");
  t.deepEqual(first.give({ kind: "delta", edge: "us-3", manifest }, 3), []);
  const seat = first.state.seats.get("us-3")!;
  t.like(seat, { bucket: Bucket.LATE, reason: "came late; counts in a later round" });
});

test("rounds that aren't asynchronous tell late deltas so", (t) => {
  const first = closed(1, false);
  const manifest = manifestOf(first.state.offer, "us-3", 9);
  t.is(admitDelta(first.state, "us-3", manifest.delta!.sha256, 2), "late");
  t.deepEqual(first.give({ kind: "delta", edge: "us-3", manifest }, 2), []);
});

test("what is carried weighs (1 + staleness)^-1/2, and counts in one round only", (t) => {
  const first = closed(1);
  const manifest = manifestOf(first.state.offer, "us-3", 9);
  first.give({ kind: "delta", edge: "us-3", manifest }, 2);
  const fourth = closed(4);
  const carried = carriedDeltas([first, fourth], fourth.state);
  t.deepEqual(
    carried.map(({ name, share }) => [name, share]),
    [["us-3@1", 0.5]],
  );
  t.deepEqual(carriedDeltas([first, fourth], first.state), [], "not in its own round");
  const partial = create(PartialSchema, { contributors: ["us-1", "us-2", "us-3@1"] });
  const summed = applyRoundEvent(fourth.state, { kind: "summed", partial });
  const done = { state: summed };
  t.is(carriedDeltas([first, done], summed).length, 1, "summing it again takes the same");
  const fifth = closed(5);
  t.deepEqual(carriedDeltas([first, done, fifth], fifth.state), []);
  const leftOut = create(PartialSchema, { leftOut: [{ edge: "us-3@1", reason: "too long" }] });
  const refused = { state: applyRoundEvent(fourth.state, { kind: "summed", partial: leftOut }) };
  t.deepEqual(carriedDeltas([first, refused, fifth], fifth.state), [], "nor after a refusal");
});

test("other campaigns and very old deltas are never carried", (t) => {
  const first = closed(1);
  first.give(
    { kind: "delta", edge: "us-3", manifest: manifestOf(first.state.offer, "us-3", 9) },
    2,
  );
  const other = new Played(offerOf({ campaign: "other", round: 2, asynchronous: true }), edges);
  t.deepEqual(carriedDeltas([first, other], other.state), []);
  t.is(carriedDeltas([first, closed(21)], closed(21).state).length, 1);
  t.deepEqual(carriedDeltas([first, closed(22)], closed(22).state), []);
});
