// A real edge that trains while it serves: training stands still while a stream runs, its turns
// aside, and goes on when the edge is quiet.
import { readFileSync } from "node:fs";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import test from "ava";
import {
  type TrainCommand,
  TrainCommandSchema,
  TrainProgressSchema,
  TrainReplySchema,
} from "../../../proto/gen/isthmus/v1/rounds_pb.ts";
import { edgeId, regionId, sha256 } from "../../../proto/ids.ts";
import { subjects } from "../../../proto/subjects.ts";
import { systemClock } from "../../../runtime/clock.ts";
import { connectNats } from "../../../runtime/nats/connection.ts";
import { createArtifactStore } from "../../../sync/artifact/artifact-store.ts";
import { TensorType } from "../../../sync/formats/tensor-type.ts";
import { hashOf } from "../../region/round/round-fixture.ts";
import { eventually } from "../../support/eventually.ts";
import { startNatsServer } from "../../support/nats-topology.ts";
import { EdgeProcess } from "../edge-process.ts";
import { writeTinyModel } from "../training/tiny-model.ts";
import { linesOf } from "./learning-fixture.ts";

const MODEL = "tiny";
const STEPS = 1500;
const ROUND_MS = 240_000;
const QUIET_SHARE_MIN = 0.01;

/** An edge with a folder that holds the model, as an artifact too, and examples. */
async function startEdge(servers: readonly string[]) {
  const dir = await mkdtemp(join(tmpdir(), "isthmus-beside-"));
  const path = writeTinyModel(dir, TensorType.q8_0);
  const bytes = readFileSync(path);
  const store = createArtifactStore({ dir: join(dir, "artifacts") });
  await store.put(sha256(hashOf(bytes)), bytes.length, ReadableStream.from([bytes]));
  const train = join(dir, "train.jsonl");
  const heldout = join(dir, "heldout.jsonl");
  await writeFile(train, linesOf([{ prompt: "ping", completion: "pong" }]));
  await writeFile(heldout, linesOf([{ prompt: "sing", completion: "song" }]));
  const edge = await EdgeProcess.start(
    {
      nats: servers,
      models: [{ model: MODEL, path }],
      privateData: { [MODEL]: { name: "dialect", train, heldout } },
      training: { shareWhileBusy: QUIET_SHARE_MIN },
      engine: { slots: 2, contextSize: 4096, threads: 1 },
    },
    dir,
  );
  return { edge, base: { sha256: hashOf(bytes), bytes: BigInt(bytes.length), name: "base" } };
}

function commandFor(base: { sha256: string; bytes: bigint; name: string }): TrainCommand {
  return create(TrainCommandSchema, {
    offer: {
      campaign: "beside",
      round: 1,
      model: MODEL,
      version: { model: MODEL, version: `${MODEL}@1`, base },
      params: {
        rank: 2,
        alpha: 4,
        learningRate: 0.001,
        steps: STEPS,
        batch: 1,
        sequenceLength: 64,
        seed: 1n,
      },
      deadlineMs: BigInt(systemClock.now() + ROUND_MS),
      quorum: 1,
    },
    // Nobody listens there: this test ends when the training does.
    uploadTo: "http://127.0.0.1:9",
  });
}

/** A stream that goes on until it is aborted. */
async function stream(edge: EdgeProcess, signal: AbortSignal): Promise<void> {
  const body = JSON.stringify({
    model: MODEL,
    messages: [{ role: "user", content: "hello" }],
    stream: true,
    temperature: 0,
  });
  const headers = { "content-type": "application/json" };
  const url = `${edge.http}/v1/chat/completions`;
  while (!signal.aborted) {
    try {
      const response = await fetch(url, { method: "POST", body, headers, signal });
      for await (const _ of response.body!) if (signal.aborted) break;
    } catch (thrown) {
      if (!signal.aborted) throw thrown;
    }
  }
}

test("training stands still while a stream runs, and ends once the edge is quiet", async (t) => {
  t.timeout(ROUND_MS);
  await using server = await startNatsServer();
  await using nats = await connectNats({ servers: server.urls("central"), name: "test" });
  const { edge, base } = await startEdge(server.urls("central"));
  const hangUp = new AbortController();
  let step = 0;
  let failed = "";
  nats.subscribe(subjects.progress(regionId("us"), edgeId("us-1")), ({ body }) => {
    const progress = fromBinary(TrainProgressSchema, body);
    step = Math.max(step, progress.step);
    failed ||= progress.failed;
  });
  try {
    await edge.ready();
    const subject = subjects.train(regionId("us"), edgeId("us-1"));
    const command = toBinary(TrainCommandSchema, commandFor(base));
    const reply = await eventually("the edge answers", () => nats.request(subject, command, 5000));
    t.like(fromBinary(TrainReplySchema, reply), { accepted: true, reason: "" });
    await eventually("training has begun", () => step > 0, ROUND_MS / 2);
    const streaming = stream(edge, hangUp.signal);
    await eventually("it stands still", async () => {
      return (await edge.metric("isthmus_training_paused")) === 1;
    });
    t.is((await edge.metric("isthmus_slots_active")) >= 1, true);
    t.true(step < STEPS, `at step ${step}`);
    hangUp.abort();
    await streaming;
    await eventually("it went through", () => step === STEPS || failed !== "", ROUND_MS / 2);
    t.is(failed, "");
    t.is(await edge.metric("isthmus_training_paused"), 0);
  } finally {
    hangUp.abort();
    await edge.destroy();
  }
});
