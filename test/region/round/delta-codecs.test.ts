// Rounds in every codec over real NATS and HTTP: each delta is written as the round says, or kept
// out, and what is summed is what the edges meant, within the codec's error.
import { join } from "node:path";
import test from "ava";
import { Bucket, DeltaCodec } from "../../../proto/gen/isthmus/v1/rounds_pb.ts";
import { sha256 } from "../../../proto/ids.ts";
import { statusOfRound } from "../../../region/round/round-status.ts";
import { decodeBrainFloats, encodeBrainFloats } from "../../../sync/delta/codec/brain-float.ts";
import {
  type CodecFormat,
  formatToWire,
  plainFormat,
  topCount,
} from "../../../sync/delta/codec/delta-format.ts";
import { decodeInt8, encodeInt8 } from "../../../sync/delta/codec/int8-blocks.ts";
import { pickTop } from "../../../sync/delta/codec/top-numbers.ts";
import { openSigningKey } from "../../../sync/delta/signing-key.ts";
import { normOf, type TensorMap } from "../../../sync/delta/tensor-map.ts";
import { readSafetensors, type SafeTensor } from "../../../sync/formats/safetensors.ts";
import { eventually } from "../../support/eventually.ts";
import { linkedNats } from "../../support/linked-nats.ts";
import { adapterOf, handIn, MODEL, offerOf, signedDelta, startRegion } from "./round-fixture.ts";

const { dir, nats } = await linkedNats();
const names = ["us-1", "us-2"];
const keys = names.map((edge) => openSigningKey(join(dir, `${edge}.pem`)));
const members = names.map((edge, i) => ({
  edge,
  models: [MODEL],
  publicKey: keys[i]!.publicKey,
}));
/** What anybody reads who gets the numbers in this format. */
const lossy: Record<CodecFormat["codec"], (data: Float32Array) => Float32Array> = {
  f32: (data) => data,
  bf16: (data) => decodeBrainFloats(encodeBrainFloats(data)),
  int8: (data) => decodeInt8(encodeInt8(data)),
  "top-k": (data) => {
    const dense = new Float32Array(data.length);
    const { index, values } = pickTop(data, topCount(data.length, 0.25));
    for (const [i, place] of index.entries()) dense[place] = values[i]!;
    return dense;
  },
};

const asRead = (tensors: TensorMap, { codec }: CodecFormat): TensorMap =>
  new Map(
    [...tensors].map(([name, { shape, data }]): [string, SafeTensor] => {
      return [name, { shape, data: lossy[codec](data) }];
    }),
  );

for (const codec of ["f32", "bf16", "int8", "top-k"] as const) {
  test.serial(`a round in ${codec} sums what its edges sent in it, and nothing else`, async (t) => {
    const running = await startRegion(join(dir, codec), nats, () => members);
    try {
      const format: CodecFormat = { codec, topShare: codec === "top-k" ? 0.25 : 0 };
      const other: CodecFormat = codec === "f32" ? { codec: "bf16", topShare: 0 } : plainFormat;
      const offer = offerOf({ campaign: codec, quorum: 1, format: formatToWire(format) });
      await running.rounds.offer(offer);
      const sent = [1, 2].map((seed) => adapterOf(seed));
      const deltas = sent.map((tensors, i) => {
        const norm = normOf(asRead(tensors, format));
        const change = { norm, examples: 10 * (i + 1) };
        return signedDelta(offer, names[i]!, keys[i]!, tensors, change, format);
      });
      t.like(await handIn(running.http, deltas[0]!), { code: 201, status: "included" });
      const lying = { ...deltas[1]!.manifest.format! };
      const wrong = signedDelta(offer, "us-2", keys[1]!, sent[1]!, { format: lying }, other);
      const refused = await handIn(running.http, wrong);
      t.like(refused, { code: 422, status: "quarantined" });
      t.regex(refused.reason, /^schema: the numbers are /);
      const { state } = await eventually("the round is done", () => {
        const runner = running.rounds.round(codec, 1)!;
        return runner.state.phase === "done" && runner;
      });
      const { edges, partial } = statusOfRound(state, { region: "us", http: "" });
      t.deepEqual(
        edges.map(({ bucket, reason }) => [bucket, reason]),
        [
          [Bucket.INCLUDED, ""],
          [Bucket.QUARANTINED, "schema"],
        ],
      );
      const { tensors } = readSafetensors(running.store.path(sha256(partial!.artifact!.sha256)));
      for (const [name, { data }] of asRead(sent[0]!, format)) {
        const summed = tensors.get(name)!.data;
        t.true(data.every((x, i) => Math.abs(summed[i]! - partial!.weight * x) < 1e-4));
      }
    } finally {
      await running.stop();
    }
  });
}

test.serial("an offer in a codec that nobody knows is refused", async (t) => {
  const running = await startRegion(join(dir, "unknown"), nats, () => members);
  try {
    const reasonOf = async (codec: DeltaCodec, topShare: number) =>
      (await running.rounds.offer(offerOf({ campaign: "unknown", format: { codec, topShare } })))
        .reason;
    t.is(await reasonOf(9 as DeltaCodec, 0), "invalid offer: a codec numbered 9");
    t.is(await reasonOf(DeltaCodec.TOP_K, 0), "invalid offer: a top share of 0");
    t.is(await reasonOf(DeltaCodec.TOP_K, 1.5), "invalid offer: a top share of 1.5");
  } finally {
    await running.stop();
  }
});
