// What an edge makes of its training: a delta in the round's format, within the norm, of the rank
// that it trained, with what is left out owed to the next round.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import {
  deltaPath,
  stagedResidualPath,
  writeDelta,
} from "../../../edge-node/learning/delta-writer.ts";
import { ResidualStore } from "../../../edge-node/learning/residual-store.ts";
import { changeFrame } from "../../../sync/aggregate/frame-change.ts";
import { type CodecFormat, formatToWire } from "../../../sync/delta/codec/delta-format.ts";
import { readDelta, scanDelta } from "../../../sync/delta/codec/delta-numbers.ts";
import { firstComponents, layoutOfRank } from "../../../sync/delta/rank-slice.ts";
import { screenDelta, screenManifest } from "../../../sync/delta/screening.ts";
import { openSigningKey } from "../../../sync/delta/signing-key.ts";
import { deltaBetween, layoutOf, normOf, type TensorMap } from "../../../sync/delta/tensor-map.ts";
import { writeSafetensors } from "../../../sync/formats/safetensors.ts";
import {
  ALPHA,
  adapterOf,
  hashOf,
  offerOf,
  RANK,
  START,
} from "../../region/round/round-fixture.ts";

const dir = mkdtempSync(join(tmpdir(), "isthmus-delta-writer-"));
test.after.always(() => rmSync(dir, { recursive: true }));
const key = openSigningKey(join(dir, "key.pem"));
const startPath = join(dir, "start.safetensors");
writeFileSync(startPath, START);
const startSha256 = hashOf(START);
const formats: readonly CodecFormat[] = [
  { codec: "f32", topShare: 0 },
  { codec: "bf16", topShare: 0 },
  { codec: "int8", topShare: 0 },
  { codec: "top-k", topShare: 0.25 },
];
let folder = 0;

interface Writing {
  readonly tensors: TensorMap;
  readonly format: CodecFormat;
  readonly normMax?: number;
  readonly residuals?: ResidualStore;
  readonly isFirst?: boolean;
  readonly lora?: string;
}

async function write({ tensors, format, normMax = 0, isFirst, lora = "", ...rest }: Writing) {
  const at = join(dir, `round-${++folder}`);
  mkdirSync(at);
  const adapterState = join(at, "result.safetensors");
  writeSafetensors(adapterState, { metadata: { alpha: "4" }, tensors });
  const whole = offerOf({
    format: formatToWire(format),
    params: { rank: RANK, alpha: ALPHA, normMax },
    rule: { lora },
  });
  const { adapterState: _, ...without } = whole;
  const offer = isFirst ? offerOf({ ...without, adapterState: undefined }) : whole;
  const counts = { steps: 2, replayExamples: 0, skipped: 0, tokensPerSecond: 1, durationMs: 1 };
  const metrics = { lossBefore: 2, lossAfter: 1, examples: 7, memoryBytes: 1, ...counts };
  const residuals = rest.residuals ?? new ResidualStore(join(at, "residuals"));
  const trained = { result: { adapterState, metrics }, startPath: isFirst ? null : startPath };
  const options = { region: "us", edge: "us-1", key, residuals };
  const manifest = await writeDelta(offer, trained, at, options);
  return { at, manifest, residuals, delta: await readDelta(deltaPath(at)) };
}

const layout = layoutOf(adapterOf(0));
const expectation = {
  campaign: "c-1",
  round: 1,
  region: "us",
  edge: "us-1",
  model: "commands",
  baseSha256: "b".repeat(64),
  startSha256,
  rank: RANK,
  alpha: ALPHA,
  noised: false,
  masked: false,
  normMax: 0,
  publicKey: key.publicKey,
  layout,
};

test("in every format the region finds nothing to object to, near the norm bound", async (t) => {
  for (const format of formats) {
    for (const normMax of [0, 0.01, 1, 3]) {
      const { at, manifest } = await write({ tensors: adapterOf(1), format, normMax });
      const expected = { ...expectation, format, normMax };
      t.is(screenManifest(manifest, expected), null);
      const contents = await scanDelta(deltaPath(at), layout);
      const { sha256, bytes } = manifest.delta!;
      const arrived = { sha256, bytes: Number(bytes), contents };
      t.is(screenDelta(arrived, manifest, expected), null, `${format.codec} within ${normMax}`);
      if (normMax > 0) t.true(manifest.norm <= normMax && manifest.norm > normMax * 0.4);
      t.like(manifest, { examples: 7, targets: ["attn_q"], rank: RANK, alpha: ALPHA });
    }
  }
});

test("what top-k leaves out is owed to the next round, and no other codec owes", async (t) => {
  const [, , , topK] = formats as [CodecFormat, CodecFormat, CodecFormat, CodecFormat];
  const change = deltaBetween(adapterOf(0), adapterOf(1));
  const first = await write({ tensors: adapterOf(1), format: topK });
  first.residuals.keep("c-1", 1, stagedResidualPath(first.at));
  const { residual: owed, start } = first.residuals.owed("c-1", "another start")!;
  t.deepEqual(start, adapterOf(0));
  for (const [name, { data }] of change) {
    const sent = first.delta.tensors.get(name)!.data;
    const left = owed.get(name)!.data;
    t.true(data.every((x, i) => sent[i]! + left[i]! === x));
    t.true(left.some((x) => x !== 0));
  }
  // The same start again: the round was undone, and nothing of it is owed.
  const undone = await write({ tensors: adapterOf(1), format: topK, residuals: first.residuals });
  t.deepEqual(undone.delta, first.delta);
  for (const format of formats.slice(0, 3)) {
    const { at, residuals } = await write({ tensors: adapterOf(1), format });
    residuals.keep("c-1", 1, stagedResidualPath(at));
    t.is(residuals.owed("c-1", "another start"), null);
  }
});

test("what is owed is sent with the next delta", async (t) => {
  const residuals = new ResidualStore(join(dir, "owing"));
  const staged = join(dir, "staged");
  const large = new Map(
    [...adapterOf(0)].map(([name, { shape, data }]) => [name, { shape, data: data.fill(100) }]),
  );
  residuals.stage(staged, "an older start", { residual: large, start: adapterOf(9) });
  residuals.keep("c-1", 0, staged);
  const format = { codec: "top-k", topShare: 1 } as const;
  const { delta } = await write({ tensors: adapterOf(1), format, residuals });
  for (const [name, { data }] of deltaBetween(adapterOf(0), adapterOf(1))) {
    const sent = delta.tensors.get(name)!.data;
    t.true(data.every((x, i) => sent[i]! === Math.fround(x + 100)));
  }
  // Where stacks are truncated, factors of another round mean something else in this one's.
  const stacked = await write({ tensors: adapterOf(1), format, residuals, lora: "stack" });
  const change = deltaBetween(adapterOf(0), adapterOf(1));
  const told = changeFrame(large, adapterOf(9), adapterOf(0));
  for (const [name, { data }] of change) {
    const sent = stacked.delta.tensors.get(name)!.data;
    t.true(data.every((x, i) => sent[i]! === Math.fround(x + told.get(name)!.data[i]!)));
    t.true(told.get(name)!.data.some((x) => Math.abs(x - 100) > 1));
  }
});

test("without a start top-k would tear the adapter, so the first delta is whole", async (t) => {
  const { delta, manifest } = await write({
    tensors: adapterOf(1),
    format: formats[3]!,
    isFirst: true,
  });
  t.is(delta.codec, "f32");
  t.deepEqual(delta.tensors, adapterOf(1));
  t.is(manifest.startSha256, "");
});

test("an edge of a lower rank sends the first components' change at the same scale", async (t) => {
  const trained = firstComponents(adapterOf(1), 1);
  const { delta, manifest } = await write({ tensors: trained, format: formats[0]! });
  t.like(manifest, { rank: 1, alpha: ALPHA / RANK });
  t.deepEqual(layoutOf(delta.tensors), layoutOfRank(layout, 1));
  const change = deltaBetween(firstComponents(adapterOf(0), 1), trained);
  t.deepEqual(delta.tensors, change);
  t.is(manifest.norm, normOf(change));
  const { data } = adapterOf(1).get("blk.0.attn_q.weight.lora_b")!;
  const b = trained.get("blk.0.attn_q.weight.lora_b")!;
  t.deepEqual([...b.data], [data[0], data[2], data[4], data[6]]);
});
