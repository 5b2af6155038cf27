// Rounds that went on without a region, over real NATS: its edges were told that they count, so
// what they did counts in the region's next round, less for its age, and in that one alone.
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import test, { type ExecutionContext } from "ava";
import { CombineRuleSchema, type RoundOffer } from "../../../proto/gen/isthmus/v1/rounds_pb.ts";
import { regionId, sha256 } from "../../../proto/ids.ts";
import { matrix, multiply } from "../../../sync/aggregate/matrix.ts";
import { openSigningKey } from "../../../sync/delta/signing-key.ts";
import { scaleTensors, type TensorMap } from "../../../sync/delta/tensor-map.ts";
import { readSafetensors } from "../../../sync/formats/safetensors.ts";
import { eventually } from "../../support/eventually.ts";
import { linkedNats } from "../../support/linked-nats.ts";
import {
  acceptTraining,
  adapterOf,
  bytesOf,
  handIn,
  hashOf,
  MODEL,
  offerOf,
  type RunningRegion,
  START,
  signedDelta,
  startRegion,
} from "./round-fixture.ts";

const { dir, nats } = await linkedNats();
const names = ["us-1", "us-2"];
const keys = names.map((edge) => openSigningKey(join(dir, `${edge}.pem`)));
const members = names.map((edge, i) => ({ edge, models: [MODEL], publicKey: keys[i]!.publicKey }));
const NAME_A = "blk.0.attn_q.weight.lora_a";
const NAME_B = "blk.0.attn_q.weight.lora_b";

acceptTraining(nats, regionId("us"), names);

/** The start told by other factors: A turned by R, B by its inverse, so that B·A is the same. */
function turned(): TensorMap {
  const [start, r, inverse] = [adapterOf(0), [2, 1, 1, 1], [1, -1, -1, 2]];
  const a = start.get(NAME_A)!;
  const b = start.get(NAME_B)!;
  const turn = (numbers: readonly number[]) => matrix(2, 2, Float64Array.from(numbers));
  const turnedA = multiply(turn(r), matrix(2, 6, a.data));
  const turnedB = multiply(matrix(4, 2, b.data), turn(inverse));
  return new Map([
    [NAME_A, { shape: a.shape, data: Float32Array.from(turnedA.data) }],
    [NAME_B, { shape: b.shape, data: Float32Array.from(turnedB.data) }],
  ]);
}

const TURNED = bytesOf(turned());
const files = new Map([START, TURNED].map((bytes) => [hashOf(bytes), bytes]));

async function startWorld(t: ExecutionContext): Promise<RunningRegion> {
  const at = join(dir, t.title.replace(/\W+/g, "-").slice(0, 40));
  const running = await startRegion(at, nats, () => members, files);
  t.teardown(() => running.stop());
  return running;
}

async function play(running: RunningRegion, offer: RoundOffer, deltas: readonly TensorMap[]) {
  await running.rounds.offer(offer);
  for (const [i, delta] of deltas.entries()) {
    const { status } = await handIn(running.http, signedDelta(offer, names[i]!, keys[i]!, delta));
    if (status !== "included") throw new Error(`${names[i]}: ${status}`);
  }
  return await eventually("the round is done", async () => {
    const status = await running.rounds.offer(offer);
    return status.done && status;
  });
}

const plain = create(CombineRuleSchema, { combine: "mean", lora: "average" });
const partialOf = ({ store }: RunningRegion, digest: string) => {
  return readSafetensors(store.path(sha256(digest))).tensors;
};
const bothOf = (round: number) => [adapterOf(10 * round + 1), adapterOf(10 * round + 2)];

test.serial("what edges did in a round that went on without them counts in the next", async (t) => {
  const running = await startWorld(t);
  const offer = (round: number, carriedRounds: number[] = []) =>
    offerOf({ campaign: "away", round, quorum: 2, rule: plain, carriedRounds });
  await play(running, offer(1), bothOf(1));
  const { partial } = await play(running, offer(2, [1]), bothOf(2));
  t.deepEqual(partial?.contributors, ["us-1", "us-1@1", "us-2", "us-2@1"]);
  const share = 2 ** -0.5;
  t.is(partial?.weight.toFixed(9), (20 + 20 * share).toFixed(9));
  const sum = partialOf(running, partial!.artifact!.sha256);
  const [one, two] = [bothOf(1), bothOf(2)].map((pair) => pair.map((delta) => delta.get(NAME_B)!));
  for (const [i, value] of sum.get(NAME_B)!.data.entries()) {
    const fresh = two!.reduce((total, { data }) => total + 10 * data[i]!, 0);
    const old = one!.reduce((total, { data }) => total + 10 * share * data[i]!, 0);
    t.true(Math.abs(value - fresh - old) < 1e-4, `${i}: ${value}`);
  }
  const third = await play(running, offer(3), bothOf(3));
  t.deepEqual(third.partial?.contributors, names, "they counted once");
});

test.serial("a round that nobody missed is not counted again", async (t) => {
  const running = await startWorld(t);
  const offer = (round: number) => offerOf({ campaign: "here", round, quorum: 2, rule: plain });
  await play(running, offer(1), bothOf(4));
  const { partial } = await play(running, offer(2), bothOf(5));
  t.deepEqual(partial?.contributors, names);
});

test.serial("a region that was away when its round ended brings in what it had", async (t) => {
  const running = await startWorld(t);
  const first = offerOf({ campaign: "open", round: 1, quorum: 1, rule: plain });
  await running.rounds.offer(first);
  await handIn(running.http, signedDelta(first, "us-1", keys[0]!, adapterOf(61)));
  // Never closed, never told: the next round is all that the region hears.
  const second = offerOf({
    campaign: "open",
    round: 2,
    quorum: 2,
    rule: plain,
    carriedRounds: [1],
  });
  const { partial } = await play(running, second, bothOf(7));
  t.deepEqual(partial?.contributors, ["us-1", "us-1@1", "us-2"]);
});

test.serial("in a stack an old change is told in the coordinates of the new start", async (t) => {
  const running = await startWorld(t);
  const stack = create(CombineRuleSchema, { combine: "mean", lora: "stack" });
  // Of B alone: then the change of the product is the same in any coordinates, to the last term.
  const change = scaleTensors(adapterOf(81), 0.1);
  change.get(NAME_A)!.data.fill(0);
  const nothing = scaleTensors(adapterOf(82), 0);
  const offer = (round: number, more: Parameters<typeof offerOf>[0]) =>
    offerOf({ campaign: "stack", round, quorum: 1, goal: 1, rule: stack, ...more });
  await play(running, offer(1, {}), [change]);
  const adapterState = { sha256: hashOf(TURNED), bytes: BigInt(TURNED.length), name: "turned" };
  const { partial } = await play(running, offer(2, { adapterState, carriedRounds: [1] }), [
    nothing,
  ]);
  t.deepEqual(partial?.contributors, ["us-1", "us-1@1"]);
  const share = 2 ** -0.5;
  const product = (tensors: TensorMap) => {
    const [a, b] = [tensors.get(NAME_A)!, tensors.get(NAME_B)!];
    const of = ({ shape, data }: typeof a) => matrix(shape[0]!, shape[1]!, data);
    return multiply(of(b), of(a)).data;
  };
  const start = adapterOf(0);
  const b = Float32Array.from(start.get(NAME_B)!.data, (value, i) => {
    return value + change.get(NAME_B)!.data[i]!;
  });
  const before = product(start);
  const after = product(new Map(start).set(NAME_B, { shape: [4, 2], data: b }));
  const scale = 4 / 2;
  for (const [i, value] of product(partialOf(running, partial!.artifact!.sha256)).entries()) {
    const wanted = scale * 10 * (before[i]! + share * after[i]!);
    t.true(Math.abs(value - wanted) < 1e-3, `${i}: ${value}, not ${wanted}`);
  }
});

test.serial("masks and central noise carry nothing over, and the region says so", async (t) => {
  const running = await startWorld(t);
  const rule = plain;
  const reasonOf = async (campaign: string, change: Parameters<typeof offerOf>[0]) =>
    (await running.rounds.offer(offerOf({ campaign, round: 2, carriedRounds: [1], ...change })))
      .reason;
  const noise = { clip: 1, multiplier: 1 };
  t.regex(await reasonOf("masked", { rule, secureAggregation: true }), /one delta of each edge/);
  t.regex(await reasonOf("noised", { rule, noise }), /one delta of each edge/);
  t.is(await reasonOf("at-edge", { rule, noise: { ...noise, atEdge: true } }), "");
});
