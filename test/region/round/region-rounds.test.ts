// A region's round over real NATS and HTTP: from the offer to the partial that the coordinator
// takes, with everything that edges may send in between.
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import test from "ava";
import {
  Bucket,
  type RegionRoundStatus,
  RegionRoundStatusSchema,
  type RoundOffer,
  RoundOfferSchema,
  TrainCommandSchema,
  TrainReplySchema,
} from "../../../proto/gen/isthmus/v1/rounds_pb.ts";
import { edgeId, regionId, sha256 } from "../../../proto/ids.ts";
import { subjects } from "../../../proto/subjects.ts";
import { BAD_CHUNKS_MAX } from "../../../region/round/delta-inbox.ts";
import { retentionDefaults } from "../../../region/round/delta-retention.ts";
import { ROUNDS_OPEN_MAX } from "../../../region/round/round-archive.ts";
import type { RoundMember } from "../../../region/round/round-candidates.ts";
import { mergePartials } from "../../../sync/aggregate/merge-partials.ts";
import { openSigningKey } from "../../../sync/delta/signing-key.ts";
import { readSafetensors } from "../../../sync/formats/safetensors.ts";
import { eventually } from "../../support/eventually.ts";
import { linkedNats } from "../../support/linked-nats.ts";
import {
  adapterOf,
  deltaUrl,
  handIn,
  MODEL,
  offerOf,
  putManifest,
  putPiece,
  type RunningRegion,
  signedDelta,
  startRegion,
} from "./round-fixture.ts";

const { roundsMax: ROUNDS_KEPT } = retentionDefaults;

const region = regionId("us");
const { dir, nats } = await linkedNats();
const keys = ["us-1", "us-2", "us-3"].map((edge) => openSigningKey(join(dir, `${edge}.pem`)));
const members = keys.map(({ publicKey }, i) => ({
  edge: `us-${i + 1}`,
  models: [MODEL],
  publicKey,
}));
/** Commands that reached each edge. */
const told = new Map<string, RoundOffer[]>();

test.before(async () => {
  for (const { edge } of members) {
    told.set(edge, []);
    nats.subscribe(subjects.train(region, edgeId(edge)), ({ body, respond }) => {
      told.get(edge)!.push(fromBinary(TrainCommandSchema, body).offer!);
      respond?.(toBinary(TrainReplySchema, create(TrainReplySchema, { accepted: true })));
    });
  }
});

interface Quarantine {
  deltas: { edge: string; reason: string; kept: boolean }[];
}

let folder = 0;
const freshDir = () => join(dir, `region-${++folder}`);

async function offerBy(offer: RoundOffer): Promise<RegionRoundStatus> {
  const body = toBinary(RoundOfferSchema, offer);
  const answer = await nats.request(subjects.roundOffer(region), body, 5000);
  return fromBinary(RegionRoundStatusSchema, answer);
}

/** Offers until the round is done, as a coordinator does that knows nothing else. */
const doneBy = (offer: RoundOffer) =>
  eventually("the round is done", async () => {
    const status = await offerBy(offer);
    return status.done && status;
  });

async function withRegion(
  run: (running: RunningRegion, dir: string) => Promise<void>,
  ready: () => readonly RoundMember[] = () => members,
): Promise<void> {
  const regionDir = freshDir();
  const running = await startRegion(regionDir, nats, ready);
  try {
    await run(running, regionDir);
  } finally {
    await running.stop();
  }
}

test.serial("three edges' deltas become one partial, whose mean is the edges' mean", async (t) => {
  await withRegion(async ({ http, store }) => {
    const offer = offerOf({ campaign: "mean", quorum: 3 });
    const first = await offerBy(offer);
    t.deepEqual(
      first.edges.map(({ edge, bucket }) => [edge, bucket]),
      members.map(({ edge }) => [edge, Bucket.TRAINING]),
    );
    const deltas = members.map(({ edge }, i) =>
      signedDelta(offer, edge, keys[i]!, adapterOf(i + 1), { examples: 10 * (i + 1) }),
    );
    for (const delta of deltas.toReversed()) {
      t.like(await handIn(http, delta), { code: 201, status: "included" });
    }
    const status = await doneBy(offer);
    t.deepEqual(
      status.edges.map(({ bucket }) => bucket),
      members.map(() => Bucket.INCLUDED),
    );
    const { partial } = status;
    t.like(partial, { weight: 60, count: 3, contributors: ["us-1", "us-2", "us-3"], rank: 2 });
    t.is(status.http, http);
    const sum = readSafetensors(store.path(sha256(partial!.artifact!.sha256))).tensors;
    const merged = await mergePartials(null, [
      { region: "us", weight: 60, contributors: partial!.contributors, load: () => sum },
    ]);
    for (const [name, { data }] of merged) {
      const parts = deltas.map((_, i) => adapterOf(i + 1).get(name)!.data);
      for (const [j, value] of data.entries()) {
        const mean = parts.reduce((total, part, i) => total + (part[j]! * (i + 1)) / 6, 0);
        t.true(Math.abs(value - mean) < 1e-6);
      }
    }
    t.true(members.every(({ edge }) => told.get(edge)!.some((o) => o.campaign === "mean")));
  });
});

test.serial("bytes resume where they stopped, and a delta counts once", async (t) => {
  await withRegion(async ({ http, rounds }) => {
    const offer = offerOf({ campaign: "resume", quorum: 3 });
    await offerBy(offer);
    const delta = signedDelta(offer, "us-1", keys[0]!, adapterOf(1));
    const total = delta.bytes.length;
    t.like(await putPiece(http, delta), { code: 409, status: "manifest-first" });
    t.like(await putManifest(http, delta.manifest), { code: 202, received: 0 });
    t.like(await putPiece(http, delta, 0, 100), { code: 202, status: "receiving", received: 100 });
    t.like(await putPiece(http, delta, 50, 150), { code: 409, status: "offset", received: 100 });
    const head = await fetch(deltaUrl(http, delta.manifest), { method: "HEAD" });
    t.is(head.headers.get("upload-offset"), "100");
    t.like(await putManifest(http, delta.manifest), { code: 202, received: 100 });
    t.like(await putPiece(http, delta, 100), { code: 201, status: "included", received: total });
    t.like(await putPiece(http, delta, 100), { code: 200, status: "duplicate" });
    t.like(await putManifest(http, delta.manifest), { code: 200, status: "duplicate" });
    const other = signedDelta(offer, "us-1", keys[0]!, adapterOf(9));
    t.like(await putManifest(http, other.manifest), { code: 409, status: "conflict" });
    const seat = rounds.round("resume", 1)!.state.seats.get("us-1")!;
    t.is(seat.manifest!.delta!.sha256, delta.manifest.delta!.sha256);
  });
});

test.serial("a client that goes away mid-piece loses nothing that arrived", async (t) => {
  await withRegion(async ({ http }, regionDir) => {
    const offer = offerOf({ campaign: "torn", quorum: 3 });
    await offerBy(offer);
    const delta = signedDelta(offer, "us-1", keys[0]!, adapterOf(1));
    const total = delta.bytes.length;
    await putManifest(http, delta.manifest);
    const stuck = new AbortController();
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(delta.bytes.slice(0, 120)),
    });
    const headers = { "content-range": `bytes 0-${total - 1}/${total}` };
    const init = { method: "PUT", body, headers, duplex: "half", signal: stuck.signal };
    const hanging = fetch(deltaUrl(http, delta.manifest), init as RequestInit).catch(() => "gone");
    const incoming = join(regionDir, "rounds/incoming");
    await eventually("the first bytes are on disk", () =>
      readdirSync(incoming).some((name) => statSync(join(incoming, name)).size === 120),
    );
    t.is((await fetch(deltaUrl(http, delta.manifest))).headers.get("upload-offset"), "120");
    // The same edge comes again while the old connection still seems alive.
    t.like(await putManifest(http, delta.manifest), { status: "receiving", received: 120 });
    stuck.abort();
    await hanging;
    t.like(await putPiece(http, delta, 120), { code: 201, status: "included" });
  });
});

test.serial(
  "bad deltas are quarantined with their reason, kept, and listed; others go on",
  async (t) => {
    await withRegion(async ({ http, metrics }, at) => {
      const offer = offerOf({ campaign: "bad", quorum: 1 });
      await offerBy(offer);
      const nan = adapterOf(2);
      nan.get("blk.0.attn_q.weight.lora_a")!.data[3] = Number.NaN;
      const poisoned = signedDelta(offer, "us-2", keys[1]!, nan, { norm: 1 });
      t.like(await handIn(http, poisoned), { code: 422, status: "quarantined" });
      const again = signedDelta(offer, "us-2", keys[1]!, adapterOf(2));
      t.like(await handIn(http, again), { code: 422, reason: "finite" });
      // Somebody else in us-3's name, then us-3 itself with bytes that were damaged on the way.
      const forged = signedDelta(offer, "us-3", keys[1]!, adapterOf(4));
      t.regex((await handIn(http, forged)).reason, /^key: /);
      const good = signedDelta(offer, "us-3", keys[2]!, adapterOf(3));
      const damaged = {
        ...good,
        bytes: good.bytes.map((byte, i) => (i === 200 ? byte ^ 1 : byte)),
      };
      for (let chunk = 1; chunk < BAD_CHUNKS_MAX; chunk++) {
        t.like(await handIn(http, damaged), { code: 409, status: "bad-chunk", received: 192 });
      }
      t.regex((await handIn(http, damaged)).reason, /^hash: /);
      t.like(await handIn(http, good), { code: 201, status: "included" });
      t.like(await handIn(http, signedDelta(offer, "us-1", keys[0]!, adapterOf(1))), { code: 201 });
      const status = await doneBy(offer);
      t.deepEqual(
        status.edges.map(({ bucket, reason }) => [bucket, reason]),
        [
          [Bucket.INCLUDED, ""],
          [Bucket.QUARANTINED, "finite"],
          [Bucket.INCLUDED, ""],
        ],
      );
      t.deepEqual(status.partial!.contributors, ["us-1", "us-3"]);
      const read = async (path: string) => (await fetch(`${http}${path}`)).json();
      const listed = (await read("/v1/rounds/bad/1/quarantine")) as Quarantine;
      t.deepEqual(
        listed.deltas.map(({ edge, reason, kept }) => [edge, reason, kept]),
        [
          ["us-2", "finite", true],
          ["us-3", "key", false],
          // By that name the sound bytes came in the end.
          ["us-3", "hash", true],
        ],
      );
      const kept = poisoned.manifest.delta!;
      t.like(listed.deltas[0], { codec: "f32", sha256: kept.sha256, norm: 1 });
      t.deepEqual(await read("/v1/quarantine"), listed);
      t.true(statSync(join(at, "rounds/deltas/objects", `${kept.sha256}-${kept.bytes}`)).size > 0);
      const counted = await metrics.text();
      t.regex(counted, /isthmus_round_deltas_refused_total\{[^}]*reason="finite"[^}]*\} 1\n/);
      t.regex(counted, /isthmus_round_deltas_refused_total\{[^}]*reason="norm"[^}]*\} 0\n/);
      t.regex(counted, /isthmus_round_chunks_refused_total\{?[^ ]* 8\n/);
    });
  },
);

test.serial(
  "after the deadline a delta is told that it is late, and below quorum nothing is summed",
  async (t) => {
    await withRegion(async ({ http }) => {
      const offer = offerOf({ campaign: "late", quorum: 2, deadlineMs: BigInt(Date.now() + 1500) });
      await offerBy(offer);
      t.like(await handIn(http, signedDelta(offer, "us-1", keys[0]!, adapterOf(1))), { code: 201 });
      const status = await doneBy(offer);
      t.is(status.reason, "below quorum: 1 of 2 deltas");
      t.is(status.partial, undefined);
      const late = await handIn(http, signedDelta(offer, "us-2", keys[1]!, adapterOf(2)));
      t.like(late, { code: 410, status: "late" });
      const told = (await offerBy(offer)).edges.find(({ edge }) => edge === "us-2");
      t.regex(told!.reason, /; it came \d+\.\d s after the round had closed$/);
      // Somebody else's word makes no edge late.
      const forged = await handIn(http, signedDelta(offer, "us-3", keys[1]!, adapterOf(2)));
      t.like(forged, { code: 410, status: "late" });
      const other = (await offerBy(offer)).edges.find(({ edge }) => edge === "us-3");
      t.notRegex(other!.reason, /it came/);
    });
  },
);

test.serial("the last word is told until it is taken, across a restart too", async (t) => {
  const regionDir = freshDir();
  const statuses: RegionRoundStatus[] = [];
  const listener = nats.subscribe(subjects.roundStatus(region), ({ body }) => {
    statuses.push(fromBinary(RegionRoundStatusSchema, body));
  });
  const offer = offerOf({ campaign: "taken" });
  const running = await startRegion(regionDir, nats, () => members.slice(0, 1));
  await offerBy(offer);
  await handIn(running.http, signedDelta(offer, "us-1", keys[0]!, adapterOf(1)));
  const before = await doneBy(offer);
  await running.stop();
  statuses.length = 0;
  const restarted = await startRegion(regionDir, nats, () => members.slice(0, 1));
  try {
    const told = await eventually("the last word is told again", () =>
      statuses.find((s) => s.done),
    );
    t.deepEqual(told.partial, before.partial);
    t.is(told.http, restarted.http);
    const taken = create(RoundOfferSchema, { campaign: "taken", round: 1 });
    await nats.request(subjects.roundTaken(region), toBinary(RoundOfferSchema, taken), 5000);
    t.true(restarted.rounds.round("taken", 1)!.state.taken);
    t.deepEqual((await offerBy(offer)).partial, before.partial);
    t.is((await offerBy(offerOf({ campaign: "taken", round: 0 }))).done, true);
  } finally {
    listener.stop();
    await restarted.stop();
  }
});

test.serial(
  "an edge that shows another key than the one pinned isn't asked to train",
  async (t) => {
    let ready = members.slice(0, 1);
    await withRegion(
      async () => {
        await offerBy(offerOf({ campaign: "pin-1" }));
        ready = [{ ...members[0]!, publicKey: keys[2]!.publicKey }];
        const status = await offerBy(offerOf({ campaign: "pin-2" }));
        t.deepEqual(
          status.edges.map(({ edge, bucket, reason }) => [edge, bucket, reason]),
          [["us-1", Bucket.QUARANTINED, "key"]],
        );
        t.false(told.get("us-1")!.some(({ campaign }) => campaign === "pin-2"));
      },
      () => ready,
    );
  },
);

test.serial("nonsense over HTTP and NATS is refused and harms nothing", async (t) => {
  await withRegion(async ({ http, rounds }) => {
    const offer = offerOf({ campaign: "nonsense" });
    await offerBy(offer);
    const delta = signedDelta(offer, "us-1", keys[0]!, adapterOf(1));
    const url = deltaUrl(http, delta.manifest);
    const put = async (path: string, body: string, headers = {}) =>
      (await fetch(path, { method: "PUT", body, headers })).status;
    t.is(await put(`${url}/manifest`, "{"), 400);
    t.is(await put(`${url}/manifest`, '{"campaign":7}'), 400);
    t.is(await put(`${url}/manifest`, "x".repeat(70_000)), 413);
    t.is(await put(url, "x"), 400);
    t.is(await put(url, "x", { "content-range": "bytes 0-0/99999999999" }), 400);
    t.is(await put(`${http}/v1/rounds/nonsense/1/deltas/..%2f..`, "x"), 400);
    t.is(await put(`${http}/v1/rounds/nonsense/7/deltas/us-1/manifest`, "{}"), 404);
    t.like(await handIn(http, signedDelta(offer, "us-9", keys[0]!, adapterOf(1))), { code: 403 });
    await putManifest(http, delta.manifest);
    const long = { "content-range": `bytes 0-9/${delta.bytes.length}` };
    t.is(await put(url, "x".repeat(50), long), 400);
    t.is((await offerBy(offerOf({ campaign: "UPPER/case" }))).reason.slice(0, 13), "invalid offer");
    const bare = create(RoundOfferSchema, { campaign: "bare", model: MODEL });
    t.regex((await offerBy(bare)).reason, /no base/);
    t.is(rounds.rounds().length, 1);
  });
});

test.serial(
  "open rounds are bounded, and old ones that were taken make room on disk",
  async (t) => {
    await withRegion(
      async ({ rounds }, regionDir) => {
        for (let i = 1; i <= ROUNDS_OPEN_MAX; i++) {
          t.false((await rounds.offer(offerOf({ campaign: `open-${i}` }))).done);
        }
        const refused = await rounds.offer(offerOf({ campaign: "one-more" }));
        t.like(refused, { done: true, reason: "too many rounds are open in this region" });
        // Each round of a campaign ends the one before it.
        for (let round = 2; round <= ROUNDS_KEPT + 5; round++) {
          t.false((await rounds.offer(offerOf({ campaign: "open-1", round }))).done);
        }
        t.is(rounds.rounds().length, ROUNDS_KEPT);
        const kept = readdirSync(join(regionDir, "rounds/rounds/open-1"));
        t.is(kept.length, ROUNDS_KEPT - ROUNDS_OPEN_MAX + 1);
        t.false(kept.includes("2"));
        t.true(kept.includes(String(ROUNDS_KEPT + 5)));
      },
      () => [],
    );
  },
);
