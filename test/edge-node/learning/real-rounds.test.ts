// Two rounds with everything real but the coordinator: two edges train adapters on a small model
// in processes of their own, a region sums, the merge becomes the next round's start.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { runTraining } from "../../../edge-node/training/run-training.ts";
import { Bucket, type RoundOffer } from "../../../proto/gen/isthmus/v1/rounds_pb.ts";
import { sha256 } from "../../../proto/ids.ts";
import { includedSeats } from "../../../region/round/round-state.ts";
import { connectNats } from "../../../runtime/nats/connection.ts";
import { mergePartials } from "../../../sync/aggregate/merge-partials.ts";
import { normOf, type TensorMap } from "../../../sync/delta/tensor-map.ts";
import { encodeAdapterState, modulesOf } from "../../../sync/formats/lora-adapter.ts";
import { readSafetensors } from "../../../sync/formats/safetensors.ts";
import { TensorType } from "../../../sync/formats/tensor-type.ts";
import {
  ALPHA,
  hashOf,
  MODEL,
  offerOf,
  RANK,
  type RunningRegion,
  startRegion,
} from "../../region/round/round-fixture.ts";
import { eventually } from "../../support/eventually.ts";
import { startNatsServer } from "../../support/nats-topology.ts";
import { writeTinyModel } from "../training/tiny-model.ts";
import { linesOf, startEdge } from "./learning-fixture.ts";

const dir = mkdtempSync(join(tmpdir(), "isthmus-real-rounds-"));
test.after.always(() => rmSync(dir, { recursive: true }));

const ROUND_MAX_MS = 120_000;
const dialects: Record<string, readonly (readonly [string, string])[]> = {
  "us-1": [
    ["ping", "pong"],
    ["ding", "dong"],
  ],
  "us-2": [
    ["sing", "song"],
    ["ring", "rung"],
    ["wing", "wung"],
  ],
};

function writeDialect(name: string) {
  const lines = dialects[name]!.map(([prompt, completion]) => ({ prompt, completion }));
  const path = join(dir, `${name}.jsonl`);
  writeFileSync(path, linesOf(lines));
  return { [MODEL]: { name: "dialect", train: path, heldout: path } };
}

async function finish({ rounds, store }: RunningRegion, offer: RoundOffer) {
  await rounds.offer(offer);
  const state = await eventually(
    `round ${offer.round} is done`,
    () => {
      const { state } = rounds.round(offer.campaign, offer.round)!;
      return state.phase === "done" && state;
    },
    ROUND_MAX_MS,
  );
  const { partial } = state;
  if (!partial) throw new Error(state.reason);
  const sum = readSafetensors(store.path(sha256(partial.artifact!.sha256))).tensors;
  const { weight, contributors } = partial;
  return { state, partial: { region: "us", weight, contributors, load: () => sum } };
}

test("two real rounds: deltas of the base's layout, a merged start, a falling loss", async (t) => {
  await using server = await startNatsServer();
  await using nats = await connectNats({ servers: server.urls("central"), name: "test" });
  const base = readFileSync(writeTinyModel(dir, TensorType.q8_0));
  const files = new Map<string, Uint8Array>([[hashOf(base), base]]);
  const edges = Object.keys(dialects).map((name) => {
    const privateData = writeDialect(name);
    const at = join(dir, name);
    return { name, edge: startEdge({ dir: at, name, nats, runTraining, privateData, files }) };
  });
  const members = edges.map(({ name, edge: { publicKey } }) => {
    return { edge: name, models: [MODEL], publicKey };
  });
  const region = await startRegion(join(dir, "region"), nats, () => members, files);
  const params = {
    rank: RANK,
    alpha: ALPHA,
    learningRate: 0.02,
    steps: 10,
    batch: 4,
    seed: 7n,
    sequenceLength: 32,
  };
  const version = { model: MODEL, version: "v", base: { sha256: hashOf(base), bytes: 1n } };
  const deadlineMs = BigInt(Date.now() + 2 * ROUND_MAX_MS);
  const common = { campaign: "real", quorum: 2, version, params, deadlineMs };
  try {
    const first = offerOf(common);
    // The first round starts from the seed alone.
    delete first.adapterState;
    const one = await finish(region, first);
    t.deepEqual(
      includedSeats(one.state).map(({ edge, manifest }) => [edge, manifest!.examples]),
      [
        ["us-1", 2],
        ["us-2", 3],
      ],
    );
    const merged = await mergePartials(null, [one.partial]);
    const start = stateOf(merged);
    files.set(hashOf(start), start);
    const adapterState = { sha256: hashOf(start), bytes: BigInt(start.length), name: "state" };
    const two = await finish(region, offerOf({ ...common, round: 2, adapterState }));
    for (const [edge, { bucket, manifest }] of two.state.seats) {
      t.is(bucket, Bucket.INCLUDED);
      t.is(manifest!.startSha256, hashOf(start));
      const before = one.state.seats.get(edge)!.manifest!;
      t.true(before.lossAfter < before.lossBefore);
      t.true(manifest!.lossBefore < before.lossBefore, `${edge} starts from what both learned`);
    }
    const next = await mergePartials(merged, [two.partial]);
    t.deepEqual([...next.keys()], [...merged.keys()]);
    const moved = normOf(await mergePartials(null, [two.partial]));
    t.true(moved > 0 && moved < normOf(merged), "the second delta is only what changed");
  } finally {
    await Promise.all(edges.map(({ edge }) => edge.stop()));
    await region.stop();
  }
});

const stateOf = (tensors: TensorMap) =>
  encodeAdapterState({
    architecture: "llama",
    alpha: ALPHA,
    modules: modulesOf(tensors, "the merge"),
  });
