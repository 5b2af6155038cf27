// Secure aggregation over real NATS and HTTP: the region gets the sum and nothing else, with edges
// that drop out, edges that are killed, and a region that is killed in the middle.
import { cpSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { create, fromBinary } from "@bufbuild/protobuf";
import test, { type ExecutionContext } from "ava";
import type { Learning } from "../../../edge-node/learning/learning.ts";
import {
  Bucket,
  CombineRuleSchema,
  DeltaCodec,
  DeltaFormatSchema,
  type RegionRoundStatus,
} from "../../../proto/gen/isthmus/v1/rounds_pb.ts";
import { MaskSecretsSchema } from "../../../proto/gen/isthmus/v1/secagg_pb.ts";
import { sha256 } from "../../../proto/ids.ts";
import { statusOfRound } from "../../../region/round/round-status.ts";
import { deltaBetween } from "../../../sync/delta/tensor-map.ts";
import { readSafetensors } from "../../../sync/formats/safetensors.ts";
import { isAgreed } from "../../../sync/secagg/masking-party.ts";
import { scriptedTrainer, startEdge } from "../../edge-node/learning/learning-fixture.ts";
import { eventually } from "../../support/eventually.ts";
import { linkedNats } from "../../support/linked-nats.ts";
import {
  adapterOf,
  bytesOf,
  MODEL,
  offerOf,
  type RunningRegion,
  startRegion,
} from "./round-fixture.ts";

const DEADLINE_MS = 60_000;
const { dir, nats } = await linkedNats();
const maskedOffer = (campaign: string, change: Parameters<typeof offerOf>[0] = {}) => {
  return offerOf({ campaign, quorum: 3, secureAggregation: true, ...change });
};
const never = () => new Promise<void>(() => {});
const deltaOf = (i: number) => deltaBetween(adapterOf(0), adapterOf(i));

interface World {
  readonly at: string;
  readonly edges: Learning[];
  region: RunningRegion;
}

/** Edges us-1 … us-n whose i-th trains to `adapterOf(i)`; those in `stuck` never end. */
async function startWorld(t: ExecutionContext, count: number, stuck: readonly number[] = []) {
  const at = join(dir, t.title.replace(/\W+/g, "-").slice(0, 40));
  const edges = Array.from({ length: count }, (_, i) => {
    const runTraining = scriptedTrainer(i + 1, stuck.includes(i + 1) ? never : undefined);
    return startEdge({ dir: join(at, `us-${i + 1}`), name: `us-${i + 1}`, nats, runTraining });
  });
  const world: World = { at, edges, region: await startRegion(join(at, "region"), nats, members) };
  function members() {
    return edges.map(({ publicKey }, i) => ({ edge: `us-${i + 1}`, models: [MODEL], publicKey }));
  }
  t.teardown(async () => {
    await Promise.all(world.edges.map((edge) => edge.stop()));
    await world.region.stop();
  });
  return { ...world, members };
}

function doneIn({ rounds }: RunningRegion, campaign: string): Promise<RegionRoundStatus> {
  return eventually(
    "the round is done",
    () => {
      const { state } = rounds.round(campaign, 1)!;
      return state.phase === "done" && statusOfRound(state, { region: "us", http: "" });
    },
    DEADLINE_MS,
  );
}

const hasMasks = (folder: string) => {
  return eventually(
    `masks are agreed in ${folder}`,
    () => {
      const name = readdirSync(join(folder, "masks")).find((file) => file.endsWith(".masks"));
      if (name === undefined) return false;
      return isAgreed(fromBinary(MaskSecretsSchema, readFileSync(join(folder, "masks", name))));
    },
    DEADLINE_MS,
  );
};

/** Whether a partial is the sum of these edges' deltas, to the step of fixed point. */
function isSumOf(
  t: ExecutionContext,
  region: RunningRegion,
  status: RegionRoundStatus,
  of: number[],
) {
  t.deepEqual(
    status.partial?.contributors,
    of.map((i) => `us-${i}`),
    status.reason,
  );
  t.is(status.partial?.weight, of.length);
  const { tensors } = readSafetensors(region.store.path(sha256(status.partial!.artifact!.sha256)));
  for (const [name, { data }] of tensors) {
    const worst = data.reduce((max, value, j) => {
      const exact = of.reduce((sum, i) => sum + deltaOf(i).get(name)!.data[j]!, 0);
      return Math.max(max, Math.abs(value - exact));
    }, 0);
    t.true(worst < 5e-6, `${name} is off by ${worst}`);
  }
}

test.serial("the region gets the sum, and of no edge its numbers, norm or examples", async (t) => {
  const { region } = await startWorld(t, 4);
  await region.rounds.offer(maskedOffer("sum"));
  const status = await doneIn(region, "sum");
  isSumOf(t, region, status, [1, 2, 3, 4]);
  const { seats } = region.rounds.round("sum", 1)!.state;
  for (const [i, { manifest }] of [...seats.values()].entries()) {
    t.like(manifest, { masked: true, norm: 0, examples: 1 });
    t.is(manifest!.delta!.bytes, 4n * 20n);
    t.not(manifest!.delta!.sha256, bytesOf(deltaOf(i + 1)));
  }
});

test.serial(
  "an edge that drops out after masks were agreed takes nothing from the sum",
  async (t) => {
    const { region, at } = await startWorld(t, 4, [2]);
    const offered = region.rounds.offer(maskedOffer("dropped", { goal: 3, overSelection: 1.34 }));
    await hasMasks(join(at, "us-2"));
    await offered;
    const status = await doneIn(region, "dropped");
    t.is(status.edges[1]!.bucket, Bucket.LATE);
    isSumOf(t, region, status, [1, 3, 4]);
  },
);

test.serial("an edge killed after masks were agreed goes on with them", async (t) => {
  const { region, at, edges } = await startWorld(t, 3, [1]);
  await region.rounds.offer(maskedOffer("killed-edge"));
  await hasMasks(join(at, "us-1"));
  // What is on disk at this moment is what a killed process would have left.
  cpSync(join(at, "us-1"), join(at, "us-1-again"), { recursive: true });
  await edges[0]!.stop();
  edges[0] = startEdge({
    dir: join(at, "us-1-again"),
    name: "us-1",
    nats,
    runTraining: scriptedTrainer(1),
  });
  isSumOf(t, region, await doneIn(region, "killed-edge"), [1, 2, 3]);
});

test.serial("a region killed after masks were agreed still takes them off", async (t) => {
  const world = await startWorld(t, 3, [3]);
  const { at, edges, members } = world;
  await world.region.rounds.offer(maskedOffer("killed-region"));
  await hasMasks(join(at, "us-3"));
  await eventually("two deltas are in", () => {
    const seats = [...world.region.rounds.round("killed-region", 1)!.state.seats.values()];
    return seats.filter(({ bucket }) => bucket === Bucket.INCLUDED).length === 2;
  });
  cpSync(join(at, "region"), join(at, "region-again"), { recursive: true });
  await world.region.stop();
  const again = await startRegion(join(at, "region-again"), nats, members);
  t.teardown(() => again.stop());
  await edges[2]!.stop();
  edges[2] = startEdge({
    dir: join(at, "us-3"),
    name: "us-3",
    nats,
    runTraining: scriptedTrainer(3),
  });
  isSumOf(t, again, await doneIn(again, "killed-region"), [1, 2, 3]);
  await eventually("what was shared is gone", () => {
    return !readdirSync(join(at, "region-again", "rounds", "masking", "killed-region")).includes(
      "1",
    );
  });
});

test.serial(
  "two edges are no group to hide in: the round is abandoned with that reason",
  async (t) => {
    const { region } = await startWorld(t, 2);
    await region.rounds.offer(maskedOffer("two", { quorum: 1 }));
    const status = await doneIn(region, "two");
    t.is(status.partial, undefined);
    for (const { bucket, reason } of status.edges) {
      t.is(bucket, Bucket.FAILED);
      t.is(reason, "no secure aggregation: 2 edges have joined, 3 are needed");
    }
  },
);

test.serial("too many dropouts leave the sum masked, and the round says so", async (t) => {
  const { region, at } = await startWorld(t, 3, [1]);
  const offer = maskedOffer("too-few", { quorum: 1, goal: 2, overSelection: 1.5 });
  await region.rounds.offer(offer);
  await hasMasks(join(at, "us-1"));
  const status = await doneIn(region, "too-few");
  t.is(status.partial, undefined);
  t.regex(status.reason, /2 of 3 masked deltas came: too few to take the masks off/);
});

test.serial("a region refuses by name what can't hold together with masks", async (t) => {
  const { region } = await startWorld(t, 1);
  const reasonOf = async (campaign: string, change: Parameters<typeof offerOf>[0]) => {
    return (await region.rounds.offer(maskedOffer(campaign, change))).reason;
  };
  for (const combine of ["krum", "median", "norm-bound", "robust"]) {
    const rule = create(CombineRuleSchema, { combine, lora: "average" });
    t.is(
      await reasonOf(combine, { rule }),
      `invalid offer: secure aggregation excludes ${combine}: combine by mean`,
    );
  }
  const stack = create(CombineRuleSchema, { combine: "mean", lora: "stack" });
  t.regex(await reasonOf("stack", { rule: stack }), /secure aggregation excludes stacks/);
  const format = create(DeltaFormatSchema, { codec: DeltaCodec.INT8 });
  t.regex(await reasonOf("int8", { format }), /excludes the codec int8/);
});
