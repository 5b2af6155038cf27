// Poisoned rounds through a real region: whoever sends nonsense is quarantined by name, whoever
// sends a lie is left out by name, and what the others learned goes on.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import test, { type ExecutionContext } from "ava";
import {
  Bucket,
  type RegionRoundStatus,
  RegionRoundStatusSchema,
  type RoundOffer,
  RoundOfferSchema,
} from "../../../proto/gen/isthmus/v1/rounds_pb.ts";
import { regionId, sha256 } from "../../../proto/ids.ts";
import { subjects } from "../../../proto/subjects.ts";
import { openSigningKey } from "../../../sync/delta/signing-key.ts";
import { normOf, type TensorMap } from "../../../sync/delta/tensor-map.ts";
import { readSafetensors } from "../../../sync/formats/safetensors.ts";
import { eventually } from "../../support/eventually.ts";
import { linkedNats } from "../../support/linked-nats.ts";
import { flipped, honest, start, thousandfold } from "../../sync/strategy/tier-fixture.ts";
import {
  acceptTraining,
  bytesOf,
  handIn,
  hashOf,
  MODEL,
  offerOf,
  type RunningRegion,
  signedDelta,
  startRegion,
} from "./round-fixture.ts";

const region = regionId("us");
const RANK = 4;
const ALPHA = 8;
const { dir, nats } = await linkedNats();
const edges = ["us-1", "us-2", "us-3", "us-4", "us-5", "us-6"];
const keys = edges.map((edge) => openSigningKey(join(dir, `${edge}.pem`)));
const members = edges.map((edge, i) => {
  return { edge, models: [MODEL], publicKey: keys[i]!.publicKey };
});
const startBytes = bytesOf(start);

acceptTraining(nats, region, edges);

const offer = (campaign: string, count: number, change: object = {}): RoundOffer =>
  offerOf({
    campaign,
    quorum: count,
    adapterState: { sha256: hashOf(startBytes), bytes: BigInt(startBytes.length), name: "state" },
    params: { rank: RANK, alpha: ALPHA, steps: 2 },
    rule: { combine: "robust", lora: "stack" },
    ...change,
  });

async function offered(one: RoundOffer): Promise<RegionRoundStatus> {
  const answer = await nats.request(
    subjects.roundOffer(region),
    toBinary(RoundOfferSchema, one),
    5000,
  );
  return fromBinary(RegionRoundStatusSchema, answer);
}

/** Plays a round in which each edge sends what `deltas` says. */
async function play(
  { http }: RunningRegion,
  one: RoundOffer,
  deltas: Readonly<Record<string, TensorMap>>,
): Promise<RegionRoundStatus> {
  await offered(one);
  for (const [edge, tensors] of Object.entries(deltas)) {
    const norm = normOf(tensors);
    // A liar that sends NaN says nothing of it.
    const statement = { rank: RANK, alpha: ALPHA, norm: Number.isNaN(norm) ? 1 : norm };
    const key = keys[edges.indexOf(edge)]!;
    await handIn(http, signedDelta(one, edge, key, tensors, statement));
  }
  return await eventually("the round is done", async () => {
    const status = await offered(one);
    return status.done && status;
  });
}

async function withRegion(
  t: ExecutionContext,
  taking: readonly string[],
  run: (running: RunningRegion) => Promise<void>,
): Promise<void> {
  const files = new Map([[hashOf(startBytes), startBytes]]);
  const folder = mkdtempSync(join(dir, "region-"));
  const taken = members.filter(({ edge }) => taking.includes(edge));
  const running = await startRegion(folder, nats, () => taken, files);
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  try {
    await run(running);
  } finally {
    await running.stop();
  }
}

const clean = Object.fromEntries(edges.map((edge, i) => [edge, honest(200 + i)]));
const [liar = "", ...others] = edges;
const rest = Object.fromEntries(others.map((edge) => [edge, clean[edge]!]));
const withNaN = (tensors: TensorMap): TensorMap => {
  return new Map(
    [...tensors].map(([name, { shape, data }]) => {
      return [name, { shape, data: data.map((value, i) => (i === 3 ? Number.NaN : value)) }];
    }),
  );
};

test.serial("a liar of six is named, and the partial is that of a round without it", async (t) => {
  let expected = "";
  await withRegion(t, others, async (running) => {
    const { partial } = await play(running, offer("rest", 5), rest);
    expected = partial!.artifact!.sha256;
    t.like(partial, { kind: "stack", weight: 50, count: 5, leftOut: [] });
  });
  const attacks: [string, (tensors: TensorMap) => TensorMap, RegExp][] = [
    ["flip", flipped, /^goes back where the others go on/],
    ["thousandfold", thousandfold, /^its norm \S+ is far beyond the bound/],
  ];
  for (const [name, attack, reason] of attacks) {
    await withRegion(t, edges, async (running) => {
      const deltas = { ...rest, [liar]: attack(clean[liar]!) };
      const { partial, edges: outcomes } = await play(running, offer(name, 6), deltas);
      t.true(outcomes.every(({ bucket }) => bucket === Bucket.INCLUDED));
      t.deepEqual(
        partial!.leftOut.map(({ edge }) => edge),
        [liar],
      );
      t.regex(partial!.leftOut[0]!.reason, reason);
      t.is(partial!.artifact!.sha256, expected, name);
    });
  }
  await withRegion(t, edges, async (running) => {
    const deltas = { ...rest, [liar]: withNaN(clean[liar]!) };
    const { partial, edges: outcomes } = await play(running, offer("nan", 5), deltas);
    t.like(outcomes[0], { edge: liar, bucket: Bucket.QUARANTINED, reason: "finite" });
    t.is(partial!.artifact!.sha256, expected);
  });
});

test.serial("a delta of an earlier round, signed anew, doesn't count again", async (t) => {
  await withRegion(t, edges, async (running) => {
    await play(running, offer("replay", 6), clean);
    const fresh = Object.fromEntries(others.map((edge, i) => [edge, honest(300 + i)]));
    const next = offer("replay", 6, { round: 2 });
    const { partial } = await play(running, next, { ...fresh, [liar]: clean[liar]! });
    t.deepEqual(
      partial!.leftOut.map(({ edge, reason }) => `${edge}: ${reason}`),
      ["us-1: the same delta counted in round 1 of replay"],
    );
    t.is(partial!.count, 5);
  });
});

test.serial("an edge that moves a frozen A is left out, and the others' A stays", async (t) => {
  const frozen = (tensors: TensorMap): TensorMap =>
    new Map(
      [...tensors].map(([name, { shape, data }]) => {
        return [name, { shape, data: name.endsWith("lora_a") ? data.map(() => 0) : data }];
      }),
    );
  await withRegion(t, edges.slice(0, 3), async (running) => {
    const rule = { combine: "robust", lora: "freeze-a" };
    const { partial } = await play(running, offer("frozen", 3, { rule }), {
      "us-1": clean["us-1"]!,
      "us-2": frozen(clean["us-2"]!),
      "us-3": frozen(clean["us-3"]!),
    });
    t.is(partial!.kind, "sum");
    t.deepEqual(
      partial!.leftOut.map(({ edge, reason }) => `${edge} ${reason}`),
      ["us-1 changes A, which is frozen in this round"],
    );
    const { tensors } = readSafetensors(running.store.path(sha256(partial!.artifact!.sha256)));
    for (const [name, { data }] of tensors) {
      t.is(
        data.every((value) => value === 0),
        name.endsWith("lora_a"),
      );
    }
  });
});

test.serial("a round whose rule leaves nobody is abandoned and says who and why", async (t) => {
  await withRegion(t, [liar], async (running) => {
    const rule = { combine: "norm-bound", normBound: 0.01, lora: "stack" };
    const done = await play(running, offer("nobody", 1, { rule }), { [liar]: clean[liar]! });
    t.is(done.partial, undefined);
    t.regex(done.reason, /no delta is left: us-1 its norm \S+ is far beyond the bound 0\.0100/);
  });
});

test.serial(
  "a late delta of an asynchronous round counts in the next, and only there",
  async (t) => {
    await withRegion(t, edges.slice(0, 2), async (running) => {
      const rule = { combine: "robust", lora: "average" };
      const change = { rule, goal: 1, asynchronous: true };
      const first = offer("async", 1, change);
      const { partial } = await play(running, first, { "us-1": clean["us-1"]! });
      t.deepEqual(partial!.contributors, ["us-1"]);
      const late = signedDelta(first, "us-2", keys[1]!, clean["us-2"]!, {
        rank: RANK,
        alpha: ALPHA,
      });
      t.like(await handIn(running.http, late), { status: "included" });
      t.like(await handIn(running.http, late), { status: "duplicate" });
      const second = offer("async", 1, { ...change, round: 2 });
      const next = await play(running, second, { "us-1": honest(400) });
      t.deepEqual(next.partial!.contributors, ["us-1", "us-2@1"]);
      t.is(next.partial!.weight, 10 + 10 / Math.SQRT2);
      const third = await play(running, offer("async", 1, { ...change, round: 3 }), {
        "us-1": honest(401),
      });
      t.deepEqual(third.partial!.contributors, ["us-1"]);
    });
  },
);

test.serial("an offer with a rule that isn't known is refused", async (t) => {
  await withRegion(t, edges, async () => {
    const { done, reason } = await offered(offer("odd", 1, { rule: { combine: "best" } }));
    t.true(done);
    t.regex(reason, /no rule is called "best"/);
  });
});
