// What an edge learns from never leaves it: every port of a real mesh is listened in on during a
// whole round, and none of the private examples is heard, in any form. And what does leave: ratings
// by a gateway's callers, and how far inputs have drifted.
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import test from "ava";
import { CoordinatorClient } from "../../coordinator/cli/coordinator-client.ts";
import type { CampaignState } from "../../coordinator/rounds/campaign-state.ts";
import { makeHomeHeldOut } from "../../deploy/demo-model/datasets.ts";
import { readExamples } from "../../edge-node/training/example-file.ts";
import { Discovery } from "../../proto/gen/isthmus/v1/discovery_pb.ts";
import { TrainProgressSchema } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { edgeId, regionId } from "../../proto/ids.ts";
import { subjects } from "../../proto/subjects.ts";
import { createClient } from "../../runtime/grpc/bridge.ts";
import { connectNats } from "../../runtime/nats/connection.ts";
import { openVocabulary } from "../edge-node/drift/vocabulary.ts";
import { eventually } from "../support/eventually.ts";
import { plainChannel } from "../support/plain-channel.ts";
import { leaksIn, type Secret } from "../support/text-traces.ts";
import { tapWires, type WireTaps } from "../support/wire-tap.ts";
import { startTestMesh, type TestMesh } from "./test-mesh.ts";

const model = "commands";
const MODEL_FILE = join(import.meta.dirname, "../../deploy/demo-model/commands-q8_0.gguf");
const IMPORTED = 30;
/** Of each file; searching for all would take longer than the round. */
const FILED = 15;
/** Enough for every part of a round to be at work. */
const SLICE = { rounds: 1, params: { steps: 4 }, rules: { examplesMax: 150 } };
const FEWEST_INPUTS = 64;

let mesh: TestMesh;
let taps: WireTaps;
let secrets: Secret[];

test.before(async (t) => {
  t.timeout(240_000);
  mesh = await startTestMesh({
    regions: ["us", "eu"],
    edges: 1,
    wire: async (shape) => {
      taps = await tapWires(shape);
      return taps.via;
    },
  });
});

test.after.always(async () => {
  await mesh?.[Symbol.asyncDispose]();
  await taps?.[Symbol.asyncDispose]();
});

// The test speaks to the processes' own ports, which are not tapped for it.
async function post(name: string, path: string, body: unknown): Promise<Record<string, unknown>> {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const headers = { "content-type": "application/json" };
  const answer = await fetch(`${mesh.http(name)}${path}`, { method: "POST", body: text, headers });
  const json = (await answer.json()) as Record<string, unknown>;
  if (!answer.ok) throw new Error(JSON.stringify(json));
  return json;
}

async function ask(name: string, content: string, more: object = {}): Promise<string> {
  const messages = [{ role: "user", content }];
  const asked = { model, messages, max_tokens: 1, temperature: 0, ...more };
  return String((await post(name, "/v1/chat/completions", asked)).id);
}

/** What nobody but us-1 may know: its files, what it was given, and how it was put right. */
async function makeSecrets(): Promise<Secret[]> {
  const imported = Array.from({ length: IMPORTED }, (_, n) => ({
    prompt: `whisper to the heron ${n} in attic`,
    completion: `{"intent":"heron","attic":${n}}`,
  }));
  const lines = imported.map((example) => JSON.stringify(example)).join("\n");
  await post("us-1", `/v1/examples?model=${model}`, lines);
  const asked = { prompt: "wake the seven owls now", completion: '{"intent":"owls","wake":7}' };
  const id = await ask("us-1", asked.prompt);
  await post("us-1", "/v1/feedback", { id, correction: asked.completion, rating: -1 });
  const { dir } = mesh.handle.layout.regions[0]!.edges[0]!;
  const filed = ["train", "heldout"].flatMap((part) =>
    readExamples(join(dir, "private", `commands-media-${part}.jsonl`)).slice(0, FILED),
  );
  const vocabulary = await openVocabulary(MODEL_FILE);
  const texts = [asked, ...imported, ...filed].flatMap((one) => [one.prompt, one.completion]);
  const made = texts.map((text) => ({ text, ids: vocabulary.tokenize(text) }));
  await vocabulary.dispose();
  return made;
}

async function runRound(): Promise<CampaignState> {
  const coordinator = new CoordinatorClient(mesh.http("coordinator"), new AbortController().signal);
  const order = { model, ...SLICE };
  let campaign = await coordinator.post<CampaignState>("/v1/campaigns", order);
  const path = `/v1/campaigns/${campaign.id}/events`;
  for await (const state of coordinator.follow<CampaignState>(path)) campaign = state;
  return campaign;
}

test.serial("a whole round tells nobody a private example, in any form", async (t) => {
  t.timeout(280_000);
  secrets = await makeSecrets();
  const { past } = await runRound();
  const [round] = past;
  t.is(round?.buckets.included, 2);
  // 300 of the file and what is not kept for evaluation: they were learned from.
  const listing = (await (await fetch(`${mesh.http("us-1")}/v1/examples?limit=100`)).json()) as {
    examples: { split: string; learned_ms: number | null }[];
  };
  const learned = listing.examples.filter((one) => one.learned_ms !== null);
  const proving = listing.examples.filter(({ split }) => split === "evaluation");
  t.is(learned.length + proving.length, IMPORTED + 1);
  t.true(learned.length > 15 && proving.length > 0);
  t.is(round?.examples, 600 + learned.length);
  const media = round?.evaluations.find(({ dataset }) => dataset === "media");
  t.is(media?.examples, 100 + proving.length, "and so is the gate's evaluation");
  // Last, since the search holds this process for longer than idle connections live.
  const streams = taps.heard();
  t.deepEqual(leaksIn(streams, secrets), []);
  const told = (words: string, owner: RegExp) =>
    streams.some((one) => owner.test(one.owner) && one.bytes.includes(words));
  t.true(told("media", /^nats/), "NATS was listened in on");
  t.true(told("/deltas/us-1", /^region us, HTTP/), "and HTTP");
  t.true(told("region", /^edge us-1, gRPC/), "and gRPC: who opened the trunk");
});

test.serial("one that is told on purpose is heard, on each of the ways", async (t) => {
  const [onNats, onHttp, onGrpc, asIds] = secrets;
  const { nats, regions } = mesh.handle.layout;
  const server = nats.find(({ region }) => region === "us")!;
  const tapped = (address: string) => taps.via("us-1", address);
  const link = await connectNats({
    servers: [`nats://${tapped(`127.0.0.1:${server.ports.client}`)}`],
    name: "leak",
  });
  const progress = create(TrainProgressSchema, { failed: onNats!.text });
  const subject = subjects.progress(regionId("us"), edgeId("us-1"));
  link.publish(subject, toBinary(TrainProgressSchema, progress));
  await link.flush();
  await link.close();
  const http = `http://${tapped(new URL(regions[0]!.http).host)}`;
  await fetch(`${http}/v1/rounds/leak`, { method: "PUT", body: JSON.stringify([onHttp!.text]) });
  await fetch(`${http}/v1/rounds/leak`, { method: "PUT", body: JSON.stringify(asIds!.ids) });
  // What a gateway's caller asks does go to the edge that serves it.
  await ask("us", onGrpc!.text);
  const leaks = leaksIn(taps.heard(), [onNats!, onHttp!, onGrpc!, asIds!]);
  const on = (secret: Secret | undefined) =>
    new Set(
      leaks
        .filter(({ text }) => text === secret?.text)
        .map(({ form, owner }) => `${form} ${owner}`),
    );
  t.true(on(onNats).has(`plain ${server.name}, client`), [...on(onNats)].join());
  t.true(on(onHttp).has("JSON region us, HTTP"));
  t.true(on(onGrpc).has("plain edge us-1, gRPC") || on(onGrpc).has("plain edge eu-1, gRPC"));
  t.true(on(asIds).has("ids region us, HTTP"));
});

test.serial("a gateway passes feedback on to the edge that answered, here or beyond", async (t) => {
  for (const region of ["us", "eu"]) {
    const id = await eventually(`the gateway of us reaches ${region}`, () =>
      ask("us", "dim the lamp", { isthmus: { policy: { regions: [region] } } }),
    );
    const receipt = await post("us", "/v1/feedback", { id, correction: "dimmed", rating: 1 });
    t.like(receipt, { lesson: "correction", isthmus: { region, edge: `${region}-1` } });
    const edge = mesh.http(`${region}-1`);
    const kept = await (await fetch(`${edge}/v1/feedback/${id}`)).json();
    t.like(kept, { rating: 1 });
    const removed = await fetch(`${mesh.http("us")}/v1/feedback/${id}`, { method: "DELETE" });
    t.is(removed.status, 200);
    t.is((await fetch(`${edge}/v1/feedback/${id}`)).status, 404);
  }
  const unknown = { id: "chatcmpl-never", rating: 1 };
  await t.throwsAsync(post("us", "/v1/feedback", unknown), { message: /"code":"not_found"/ });
});

test.serial(
  "inputs that are no longer those trained on raise an alert, and suggest a round",
  async (t) => {
    t.timeout(120_000);
    for (const { prompt } of makeHomeHeldOut(2 * FEWEST_INPUTS)) await ask("us-1", prompt);
    const coordinator = new CoordinatorClient(
      mesh.http("coordinator"),
      new AbortController().signal,
    );
    const suggestion = await eventually("a round is suggested", async () => {
      const { suggestions } = await coordinator.get<{
        suggestions: {
          model: string;
          edges: { edge: string; score: number; threshold: number }[];
        }[];
      }>("/v1/status");
      return suggestions.find((one) => one.model === model);
    });
    t.deepEqual(
      suggestion.edges.map(({ edge }) => edge),
      ["us/us-1"],
    );
    t.true(suggestion.edges[0]!.score > suggestion.edges[0]!.threshold);
    const metrics = await (await fetch(`${mesh.http("us")}/metrics`)).text();
    t.regex(metrics, /^isthmus_drift_edges\{[^}]*model="commands"[^}]*\} 1$/m);
    const channel = plainChannel(mesh.grpc("us"));
    const { regions } = await createClient(Discovery, channel).getTopology({});
    channel.close();
    const drifting = regions.flatMap(({ edges }) =>
      edges.flatMap(({ edge, driftingModels }) => driftingModels.map((name) => `${edge} ${name}`)),
    );
    t.deepEqual(drifting, [`us-1 ${model}`]);
  },
);
