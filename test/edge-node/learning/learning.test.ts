// An edge's part in a round, against a real region over real NATS and HTTP: it trains, signs and
// hands in; goes on after a kill; says no for a reason; and lets nothing private out.
import { cpSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import test from "ava";
import type { Learning } from "../../../edge-node/learning/learning.ts";
import { Fault } from "../../../proto/fault.ts";
import {
  Bucket,
  EvaluateCommandSchema,
  EvaluateReplySchema,
  type RoundOffer,
  TrainCommandSchema,
  TrainReplySchema,
} from "../../../proto/gen/isthmus/v1/rounds_pb.ts";
import { edgeId, regionId } from "../../../proto/ids.ts";
import { subjects } from "../../../proto/subjects.ts";
import { statusOfRound } from "../../../region/round/round-status.ts";
import { deltaBetween, normOf } from "../../../sync/delta/tensor-map.ts";
import {
  adapterOf,
  MODEL,
  offerOf,
  type RunningRegion,
  startRegion,
} from "../../region/round/round-fixture.ts";
import { eventually } from "../../support/eventually.ts";
import { linkedNats } from "../../support/linked-nats.ts";
import {
  linesOf,
  privateDataOf,
  scriptedTrainer,
  secretsOf,
  startEdge,
  textsIn,
  wiretap,
} from "./learning-fixture.ts";

const region = regionId("us");
const { dir, nats } = await linkedNats();
let folder = 0;
const freshDir = () => join(dir, `case-${++folder}`);
const memberOf = (edge: string, { publicKey }: Learning) => ({ edge, models: [MODEL], publicKey });

/** The round's status once it is done. */
const doneIn = ({ rounds }: RunningRegion, { campaign, round }: RoundOffer) =>
  eventually("the round is done", () => {
    const { state } = rounds.round(campaign, round)!;
    return state.phase === "done" && statusOfRound(state, { region, http: "" });
  });

async function tell(edge: string, offer: RoundOffer, uploadTo = "http://127.0.0.1:9") {
  const body = toBinary(TrainCommandSchema, create(TrainCommandSchema, { offer, uploadTo }));
  const answer = await nats.request(subjects.train(region, edgeId(edge)), body, 5000);
  return fromBinary(TrainReplySchema, answer);
}

test.serial(
  "two edges train, sign and hand in; nothing private leaves them or is logged",
  async (t) => {
    const at = freshDir();
    const logged: string[] = [];
    const onLog = (line: string) => void logged.push(line);
    const onNats: Buffer[] = [];
    const ear = nats.subscribe(">", ({ body }) => void onNats.push(Buffer.from(body)));
    const edges = ["us-1", "us-2"].map((name, i) =>
      startEdge({ dir: join(at, name), name, nats, runTraining: scriptedTrainer(i + 1), onLog }),
    );
    const quoting = startEdge({
      dir: join(at, "us-3"),
      name: "us-3",
      nats,
      onLog,
      runTraining: async () => {
        throw new Error(`can't learn ${JSON.stringify(secretsOf("us-3")[0])}`);
      },
      evaluator: async (_version, [first]) => {
        throw new TypeError(`can't ask ${first!.prompt}`);
      },
    });
    const all = [...edges, quoting];
    let tap: Awaited<ReturnType<typeof wiretap>> | undefined;
    const members = all.map((edge, i) => memberOf(`us-${i + 1}`, edge));
    const via = async (http: string) => {
      tap = await wiretap(http);
      return tap.address;
    };
    const running = await startRegion(join(at, "region"), nats, () => members, undefined, via);
    try {
      const offer = offerOf({ campaign: "private", quorum: 2 });
      await running.rounds.offer(offer);
      const status = await doneIn(running, offer);
      t.deepEqual(
        status.edges.map(({ bucket, reason, examples }) => [bucket, reason, examples]),
        [
          [Bucket.INCLUDED, "", 12],
          [Bucket.INCLUDED, "", 12],
          [Bucket.FAILED, "an unexpected failure (Error)", 0],
        ],
      );
      t.is(status.edges[0]!.norm, normOf(deltaBetween(adapterOf(0), adapterOf(1))));
      t.is(status.partial!.weight, 24);
      const evaluated = await evaluate(
        "us-3",
        create(EvaluateCommandSchema, { version: offer.version! }),
      );
      t.is(evaluated.failed, "an unexpected failure (TypeError)");
      const heard = tap!.heard();
      const texts = ["us-1", "us-2", "us-3"].flatMap((name) =>
        [...secretsOf(name), ...secretsOf(`${name}-heldout`, 5)].flatMap(Object.values),
      );
      t.true(heard.includes("/v1/rounds/private/1/deltas/us-1") && heard.length > 1000);
      await eventually("the ear heard the round", () => Buffer.concat(onNats).includes("private"));
      t.true(logged.length >= 3);
      const left = Buffer.concat([heard, ...onNats, Buffer.from(logged.join(""))]);
      t.deepEqual(textsIn(left, texts), []);
      t.deepEqual(textsIn(Buffer.concat([left, Buffer.from(texts[3]!)]), texts), [texts[3]!]);
      t.deepEqual(readdirSync(join(at, "us-1/jobs/private.1")), ["job.json"]);
      t.false(edges[0]!.isTraining);
    } finally {
      ear.stop();
      await Promise.all(all.map((edge) => edge.stop()));
      await running.stop();
      tap?.stop();
    }
  },
);

test.serial("an edge killed while it trains takes the job up again and is included", async (t) => {
  const at = freshDir();
  const trainer = scriptedTrainer(1, () => new Promise(() => {}));
  const before = startEdge({ dir: join(at, "before"), name: "us-1", nats, runTraining: trainer });
  const members = [memberOf("us-1", before)];
  const running = await startRegion(join(at, "region"), nats, () => members);
  const offer = offerOf({ campaign: "killed" });
  await running.rounds.offer(offer);
  await eventually("the region sees it train", () => {
    return running.rounds.round("killed", 1)!.state.seats.get("us-1")!.step === 1;
  });
  t.true(before.isTraining);
  // What is on disk at this moment is what a killed process would have left.
  cpSync(join(at, "before"), join(at, "after"), { recursive: true });
  await before.stop();
  const again = scriptedTrainer(1);
  const after = startEdge({ dir: join(at, "after"), name: "us-1", nats, runTraining: again });
  try {
    const status = await doneIn(running, offer);
    t.is(status.edges[0]!.bucket, Bucket.INCLUDED);
    t.is(again.runs[0]!.dataSeed, trainer.runs[0]!.dataSeed);
    t.is((await tell("us-1", offer)).accepted, true);
    t.is(again.runs.length, 1);
  } finally {
    await after.stop();
    await running.stop();
  }
});

test.serial(
  "a delta that was made is handed in after a kill, untrained again, wherever the region listens",
  async (t) => {
    const at = freshDir();
    const { promise: gate, resolve: open } = Promise.withResolvers<void>();
    const edge = startEdge({
      dir: join(at, "edge"),
      name: "us-1",
      nats,
      runTraining: scriptedTrainer(1, () => gate),
    });
    const members = [memberOf("us-1", edge)];
    const first = await startRegion(join(at, "region"), nats, () => members);
    const offer = offerOf({ campaign: "moved" });
    await first.rounds.offer(offer);
    await eventually("it trains", () => edge.isTraining);
    await first.stop();
    open();
    const manifest = join(at, "edge/jobs/moved.1/manifest.json");
    await eventually("the delta is made", () =>
      readdirSync(join(manifest, "..")).includes("manifest.json"),
    );
    cpSync(join(at, "edge"), join(at, "again"), { recursive: true });
    await edge.stop();
    const idle = scriptedTrainer(2);
    const again = startEdge({ dir: join(at, "again"), name: "us-1", nats, runTraining: idle });
    const second = await startRegion(join(at, "region"), nats, () => members);
    try {
      const status = await doneIn(second, offer);
      t.is(status.edges[0]!.bucket, Bucket.INCLUDED);
      t.is(idle.runs.length, 0);
    } finally {
      await again.stop();
      await second.stop();
    }
  },
);

test.serial("a job during which its edge dies again and again is given up", async (t) => {
  const at = freshDir();
  const forever = () => new Promise<void>(() => {});
  for (let life = 1; life <= 4; life++) {
    const trainer = scriptedTrainer(1, forever);
    const edge = startEdge({ dir: at, name: "us-1", nats, runTraining: trainer });
    const reply = await tell("us-1", offerOf({ campaign: "deadly" }));
    t.is(reply.accepted, life <= 3, `life ${life}`);
    t.is(trainer.runs.length, life <= 3 ? 1 : 0);
    if (life === 4) t.is(reply.reason, "the edge stopped 3 times while training");
    await edge.stop();
  }
});

test.serial("it says no with the reason, and never twice different things", async (t) => {
  const at = freshDir();
  const { promise: gate, resolve: open } = Promise.withResolvers<void>();
  const bad = join(dir, "bad.jsonl");
  writeFileSync(bad, `${linesOf(secretsOf("bad", 2))}{"prompt":"secret`);
  const privateData = {
    [MODEL]: privateDataOf(join(at, "data"), "us-1"),
    broken: { name: "broken", train: bad, heldout: bad },
  };
  const runTraining = scriptedTrainer(1, () => gate);
  const edge = startEdge({ dir: join(at, "a"), name: "us-1", nats, privateData, runTraining });
  const off = startEdge({ dir: join(at, "b"), name: "us-2", nats, enabled: false });
  try {
    const reasonOf = async (name: string, offer: RoundOffer) => (await tell(name, offer)).reason;
    t.is(await reasonOf("us-2", offerOf()), "training is not enabled on this edge");
    t.is(await reasonOf("us-1", offerOf({ model: "other" })), "no private examples for this model");
    t.is(
      await reasonOf("us-1", offerOf({ model: "__proto__" })),
      "no private examples for this model",
    );
    t.is(await reasonOf("us-1", offerOf({ deadlineMs: 1n })), "the round is over");
    t.is(await reasonOf("us-1", offerOf({ campaign: "../up" })), "the command is incomplete");
    t.regex(
      await reasonOf("us-1", offerOf({ model: "broken" })),
      /bad\.jsonl:3: not a JSON object$/,
    );
    const offer = offerOf({ campaign: "yes", round: 1 });
    const both = await Promise.all([tell("us-1", offer), tell("us-1", offer)]);
    t.deepEqual(
      both.map(({ accepted }) => accepted),
      [true, true],
    );
    t.is(await reasonOf("us-1", offerOf({ campaign: "no" })), "another round is training here");
    const next = offerOf({ campaign: "yes", round: 2 });
    t.true((await tell("us-1", next)).accepted);
    t.is(await reasonOf("us-1", offer), "round 2 has begun");
    t.is(runTraining.runs.length, 2);
    t.not(runTraining.runs[0]!.dataSeed, runTraining.runs[1]!.dataSeed);
  } finally {
    open();
    await Promise.all([edge.stop(), off.stop()]);
  }
});

async function evaluate(
  edge: string,
  command: ReturnType<typeof create<typeof EvaluateCommandSchema>>,
) {
  const body = toBinary(EvaluateCommandSchema, command);
  const answer = await nats.request(subjects.evaluate(region, edgeId(edge)), body, 5000);
  return fromBinary(EvaluateReplySchema, answer);
}

test.serial(
  "an evaluation answers with counts, on private or public examples, once per question",
  async (t) => {
    const at = freshDir();
    const asked: string[][] = [];
    const sha256 = "a".repeat(64);
    const files = new Map([[sha256, Buffer.from(linesOf(secretsOf("public", 7)))]]);
    let failing = true;
    const edge = startEdge({
      dir: at,
      name: "us-1",
      nats,
      files,
      evaluator: async (version, examples, { keepOpen }) => {
        if (failing) throw new Fault("unavailable", "the engine is busy");
        asked.push([version.version, String(keepOpen), examples[0]!.prompt]);
        return examples.length - 1;
      },
    });
    try {
      const version = offerOf().version!;
      const own = create(EvaluateCommandSchema, { version });
      t.like(await evaluate("us-1", own), { failed: "the engine is busy", exact: 0 });
      failing = false;
      const counts = {
        edge: "us-1",
        region: "us",
        dataset: "dialect",
        examples: 5,
        exact: 4,
        failed: "",
      };
      t.like(await eventually("a failure isn't remembered", () => evaluate("us-1", own)), counts);
      t.like(await evaluate("us-1", own), counts);
      const dataset = { sha256, bytes: 1n, name: "home.jsonl" };
      const home = create(EvaluateCommandSchema, {
        version,
        dataset,
        examplesMax: 3,
        keepOpen: true,
      });
      t.like(await evaluate("us-1", home), { dataset: "home", examples: 3, exact: 2 });
      t.deepEqual(asked, [
        [`${MODEL}@1`, "false", "secret-us-1-heldout-prompt-0"],
        [`${MODEL}@1`, "true", "secret-public-prompt-0"],
      ]);
      const nothing = create(EvaluateCommandSchema, {});
      t.is((await evaluate("us-1", nothing)).failed, "no version to evaluate");
    } finally {
      await edge.stop();
    }
  },
);
