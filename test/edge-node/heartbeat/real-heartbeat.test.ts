// What a real edge with a real engine tells its region over real NATS: what it holds, how it fares,
// and what its operator says of it.
import { fromBinary } from "@bufbuild/protobuf";
import test from "ava";
import { CENTRAL } from "../../../deploy/nats/config.ts";
import { Inference } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import {
  type Heartbeat,
  HeartbeatSchema,
  ModelStatus,
} from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { regionId } from "../../../proto/ids.ts";
import { subjects } from "../../../proto/subjects.ts";
import { createClient, messagesOf } from "../../../runtime/grpc/bridge.ts";
import { openChannel } from "../../../runtime/grpc/channel.ts";
import { connectNats } from "../../../runtime/nats/connection.ts";
import { BLOCK_CHARS, promptBlocks } from "../../../runtime/prefix/prompt-blocks.ts";
import { randomModel } from "../../models/tiny-model.ts";
import { eventually } from "../../support/eventually.ts";
import { startNatsServer } from "../../support/nats-topology.ts";
import { EdgeProcess } from "../edge-process.ts";
import { request } from "../serving/served-script.ts";

const labels = { watts: 65, costPerHour: 0.5, preemptible: true };
const SLOTS = 2;

const asked = (letter: string) =>
  request({
    model: "tiny",
    prompt: { case: "text", value: letter.repeat(2 * BLOCK_CHARS + 9) },
    maxTokens: 40,
    sampling: { temperature: 0 },
  });

test("an edge tells which prompts it holds, its limit, pace and labels", async (t) => {
  t.timeout(120_000);
  const nats = await startNatsServer();
  t.teardown(() => nats.stop());
  const servers = nats.urls(CENTRAL);
  const link = await connectNats({ servers, name: "test region" });
  t.teardown(() => link.close());
  let beats = 0;
  let last: Heartbeat | undefined;
  let held: readonly number[] | undefined;
  link.subscribe(subjects.heartbeats(regionId("us")), ({ body }) => {
    last = fromBinary(HeartbeatSchema, body);
    held = last.models[0]?.prefixes?.blocks ?? held;
    beats++;
  });
  const path = await randomModel({ contextLength: 4096 });
  const edge = await EdgeProcess.start({
    nats: servers,
    labels,
    models: [{ model: "tiny", path }],
    engine: { slots: SLOTS, contextSize: 2048, threads: 1 },
  });
  t.teardown(() => edge.destroy());
  await edge.ready();
  const channel = openChannel(edge.grpc);
  t.teardown(() => channel.close());
  const client = createClient(Inference, channel);
  const complete = async (letter: string) => {
    let tokens = 0;
    for await (const { event } of messagesOf(client.generate(asked(letter)))) {
      if (event.case === "tokens") tokens += event.value.ids.length;
    }
    return tokens;
  };
  const holds = (...letters: string[]) => {
    const blocks = letters.flatMap((letter) => promptBlocks(asked(letter)));
    const wanted = blocks.sort((a, b) => a - b).join();
    return eventually(`it holds ${letters}`, () => held?.join() === wanted);
  };

  t.is(await complete("a"), 40);
  await holds("a");
  await complete("b");
  await holds("a", "b");
  await complete("c");
  await holds("b", "c");
  const told = await eventually("its pace is told", () => {
    const model = last?.models[0];
    return model && model.interTokenP99Ms > 0 && model.active === 0 ? model : false;
  });
  t.like(told, { status: ModelStatus.READY, slots: SLOTS, concurrencyLimit: SLOTS, prefilling: 0 });
  t.true(told.interTokenP99Ms < 10_000);
  t.like(last?.labels, { watts: 65, costPerHour: 0.5, preemptible: true });
  t.deepEqual(last?.gpus, []);

  // Most heartbeats don't repeat what was told; after a while one does.
  held = undefined;
  const before = beats;
  await holds("b", "c");
  t.true(beats - before > 3);
  process.kill(edge.enginePids[0]!, "SIGKILL");
  await eventually("a new engine holds nothing", () => held?.length === 0);
});
