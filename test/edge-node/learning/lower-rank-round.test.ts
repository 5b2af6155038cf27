// A real round in which one edge can't afford the rank: it trains the first components, and the
// region takes its delta beside that of an edge which trains all.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import type { RunTraining } from "../../../edge-node/learning/round-training.ts";
import { runTraining } from "../../../edge-node/training/run-training.ts";
import { includedSeats } from "../../../region/round/round-state.ts";
import { connectNats } from "../../../runtime/nats/connection.ts";
import { readGguf } from "../../../sync/formats/gguf-reader.ts";
import { initialAdapter } from "../../../sync/formats/initial-adapter.ts";
import { encodeAdapterState } from "../../../sync/formats/lora-adapter.ts";
import { TensorType } from "../../../sync/formats/tensor-type.ts";
import {
  ALPHA,
  hashOf,
  MODEL,
  offerOf,
  RANK,
  startRegion,
} from "../../region/round/round-fixture.ts";
import { eventually } from "../../support/eventually.ts";
import { startNatsServer } from "../../support/nats-topology.ts";
import { writeTinyModel } from "../training/tiny-model.ts";
import { linesOf, startEdge } from "./learning-fixture.ts";

const dir = mkdtempSync(join(tmpdir(), "isthmus-lower-rank-"));
test.after.always(() => rmSync(dir, { recursive: true }));

const ROUND_MAX_MS = 200_000;

test("an edge of a lower rank takes part with its first components", async (t) => {
  t.timeout(2 * ROUND_MAX_MS);
  await using server = await startNatsServer();
  await using nats = await connectNats({ servers: server.urls("central"), name: "test" });
  const basePath = writeTinyModel(dir, TensorType.q8_0);
  const base = readFileSync(basePath);
  const modules = ["attn_q", "ffn_down"];
  const shape = { rank: RANK, alpha: ALPHA, modules, seed: 7 };
  const start = Uint8Array.from(encodeAdapterState(initialAdapter(readGguf(basePath), shape)));
  const files = new Map<string, Uint8Array>([
    [hashOf(base), base],
    [hashOf(start), start],
  ]);
  const train = join(dir, "train.jsonl");
  writeFileSync(train, linesOf([{ prompt: "ping", completion: "pong" }]));
  const privateData = { [MODEL]: { name: "dialect", train, heldout: train } };
  const lower: RunTraining = (job, options) => runTraining({ ...job, rankMax: 1 }, options);
  const edges = Object.entries({ "us-1": runTraining, "us-2": lower }).map(([name, run]) => {
    const setting = { dir: join(dir, name), name, nats, runTraining: run, privateData, files };
    return { name, edge: startEdge(setting) };
  });
  const members = edges.map(({ name, edge: { publicKey } }) => {
    return { edge: name, models: [MODEL], publicKey };
  });
  const { rounds, stop } = await startRegion(join(dir, "region"), nats, () => members, files);
  const offer = offerOf({
    campaign: "ranks",
    quorum: 2,
    version: { model: MODEL, version: "v", base: { sha256: hashOf(base), bytes: 1n } },
    adapterState: { sha256: hashOf(start), bytes: BigInt(start.length), name: "state" },
    rule: { combine: "mean", lora: "stack" },
    params: {
      targets: modules,
      rank: RANK,
      alpha: ALPHA,
      learningRate: 0.02,
      steps: 4,
      batch: 1,
      seed: 7n,
      sequenceLength: 32,
    },
    deadlineMs: BigInt(Date.now() + 2 * ROUND_MAX_MS),
  });
  try {
    await rounds.offer(offer);
    const state = await eventually(
      "the round is done",
      () => {
        const { state } = rounds.round("ranks", 1)!;
        return state.phase === "done" && state;
      },
      ROUND_MAX_MS,
    );
    t.deepEqual(
      includedSeats(state).map(({ edge, manifest }) => [edge, manifest!.rank, manifest!.alpha]),
      [
        ["us-1", RANK, ALPHA],
        ["us-2", 1, ALPHA / RANK],
      ],
      [...state.seats.values()].map(({ reason }) => reason).join("; "),
    );
    t.is(state.partial?.kind, "stack", state.reason);
    t.is(state.partial?.count, 2);
  } finally {
    await Promise.all(edges.map(({ edge }) => edge.stop()));
    await stop();
  }
});
