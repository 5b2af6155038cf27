// Every way in which a delta can be wrong, each with its own reason.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { clone } from "@bufbuild/protobuf";
import test from "ava";
import {
  type DeltaManifest,
  DeltaManifestSchema,
} from "../../../proto/gen/isthmus/v1/rounds_pb.ts";
import { cutChunks } from "../../../sync/delta/chunks.ts";
import {
  type CodecFormat,
  formatToWire,
  plainFormat,
} from "../../../sync/delta/codec/delta-format.ts";
import type { DeltaContents } from "../../../sync/delta/codec/delta-numbers.ts";
import { signManifest } from "../../../sync/delta/delta-manifest.ts";
import {
  type ArrivedDelta,
  type DeltaExpectation,
  type ScreeningReason,
  screenDelta,
  screeningReasons,
  screenManifest,
} from "../../../sync/delta/screening.ts";
import { openSigningKey } from "../../../sync/delta/signing-key.ts";
import {
  clipNorm,
  deltaBetween,
  firstNotFinite,
  layoutOf,
  normOf,
  type TensorMap,
} from "../../../sync/delta/tensor-map.ts";
import type { SafeTensor } from "../../../sync/formats/safetensors.ts";
import { seededRandom } from "../../../sync/formats/seeded-random.ts";

const dir = mkdtempSync(join(tmpdir(), "isthmus-screening-"));
const key = openSigningKey(join(dir, "edge.pem"));
const otherKey = openSigningKey(join(dir, "other.pem"));
test.after.always(() => rmSync(dir, { recursive: true }));

const tensor = (shape: number[], ...values: number[]): SafeTensor => ({
  shape,
  data: Float32Array.from(values),
});
const A = "blk.0.attn_q.weight.lora_a";
const B = "blk.0.attn_q.weight.lora_b";
const tensors = new Map([
  [A, tensor([2, 2], 3, 0, 0, 0)],
  [B, tensor([2, 2], 0, 4, 0, 0)],
]);

/** What a scan of these tensors' file finds. */
function contentsOf(map: TensorMap, codec: CodecFormat["codec"] = "f32"): DeltaContents {
  const sent = new Map([...map].map(([name, { data }]) => [name, data.length]));
  const notFinite = firstNotFinite(map);
  return { codec, layout: layoutOf(map), sent, norm: normOf(map), notFinite };
}

const expected: DeltaExpectation = {
  campaign: "c-1",
  round: 2,
  region: "us",
  edge: "us-1",
  model: "commands",
  baseSha256: "b".repeat(64),
  startSha256: "e".repeat(64),
  rank: 2,
  alpha: 4,
  format: plainFormat,
  noised: false,
  masked: false,
  normMax: 10,
  publicKey: key.publicKey,
  layout: layoutOf(tensors),
};
const statement = {
  campaign: "c-1",
  round: 2,
  region: "us",
  edge: "us-1",
  model: "commands",
  baseSha256: "b".repeat(64),
  startSha256: "e".repeat(64),
  rank: 2,
  alpha: 4,
  examples: 60,
  norm: 5,
  delta: { sha256: "d".repeat(64), bytes: 100n },
  format: formatToWire(plainFormat),
  chunkBytes: 40,
  chunkSha256: [...cutChunks(new Uint8Array(100), 40).hashes],
  targets: ["attn_q"],
};
const contents = contentsOf(tensors);
const arrived: ArrivedDelta = { sha256: "d".repeat(64), bytes: 100, contents };
const seen = new Set<string>();

function screen(manifest: DeltaManifest, sent = arrived, expectation = expected) {
  const objection =
    screenManifest(manifest, expectation) ?? screenDelta(sent, manifest, expectation);
  if (objection) seen.add(objection.reason);
  return objection;
}

test("a sound delta passes, from a pinned edge or one seen for the first time", (t) => {
  t.is(screen(signManifest(statement, key)), null);
  t.is(screen(signManifest(statement, key), arrived, { ...expected, publicKey: null }), null);
});

test.serial("each wrong statement is found under its own reason", (t) => {
  const wrong: [ScreeningReason, object][] = [
    ["staleness", { campaign: "c-0" }],
    ["staleness", { round: 1 }],
    ["staleness", { edge: "us-2" }],
    ["staleness", { region: "eu" }],
    ["staleness", { startSha256: "" }],
    ["base", { baseSha256: "c".repeat(64) }],
    ["base", { model: "other" }],
    ["schema", { rank: 8 }],
    ["schema", { rank: 0 }],
    ["schema", { alpha: 2 }],
    ["schema", { alpha: Number.NaN }],
    ["schema", { rank: 1 }],
    ["schema", { format: undefined }],
    ["schema", { format: formatToWire({ codec: "int8", topShare: 0 }) }],
    ["schema", { format: formatToWire({ codec: "top-k", topShare: 7 }) }],
    ["schema", { noised: true }],
    ["schema", { masked: true }],
    ["schema", { chunkBytes: 0 }],
    ["schema", { chunkBytes: 50 }],
    ["schema", { chunkSha256: [] }],
    ["schema", { chunkSha256: statement.chunkSha256.map((hash) => hash.subarray(1)) }],
    ["schema", { targets: ["attn_q", "attn_v"] }],
    ["schema", { examples: 0 }],
    ["schema", { examples: 4_000_000_000 }],
    ["schema", { norm: Number.NaN }],
    ["schema", { norm: -1 }],
    ["schema", { delta: undefined }],
    ["schema", { delta: { sha256: "../../etc", bytes: 1n } }],
    ["schema", { delta: { sha256: "d".repeat(64), bytes: 1n << 60n } }],
    ["norm", { norm: 4 }],
  ];
  for (const [reason, change] of wrong) {
    const objection = screen(signManifest({ ...statement, ...change }, key));
    t.is(
      objection?.reason,
      reason,
      JSON.stringify(change, (_, v) => `${v}`),
    );
    t.is(objection?.attributable, reason !== "staleness");
  }
});

test.serial("what anybody could have sent is refused without blaming the edge", (t) => {
  const forged = clone(DeltaManifestSchema, signManifest(statement, key));
  forged.examples = 1000;
  t.like(screen(forged), { reason: "signature", attributable: false });
  t.like(screen(signManifest(statement, otherKey)), { reason: "key", attributable: false });
  const manifest = signManifest(statement, key);
  const torn = { ...arrived, sha256: "0".repeat(64) };
  t.like(screen(manifest, torn), { reason: "hash", attributable: false });
  t.like(screen(manifest, { ...arrived, bytes: 99 }), { reason: "hash", attributable: false });
});

test.serial(
  "wrong numbers are found: not a file, wrong layout, not finite, beyond the norm",
  (t) => {
    const send = (map: Map<string, SafeTensor> | null, change = {}) =>
      screen(signManifest({ ...statement, norm: map ? normOf(map) : 1, ...change }, key), {
        ...arrived,
        contents: map && contentsOf(map),
      });
    t.is(send(null)?.reason, "schema");
    t.is(send(new Map([[A, tensor([2, 2], 1, 1, 0, 0)]]))?.reason, "schema");
    t.is(send(new Map([...tensors, [A, tensor([4, 1], 1, 1, 0, 0)]]))?.reason, "schema");
    t.is(send(new Map([...tensors, ["c", tensor([1], 1)]]))?.reason, "schema");
    const int8 = { ...arrived, contents: contentsOf(tensors, "int8") };
    t.is(screen(signManifest(statement, key), int8)?.reason, "schema");
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const map = new Map([...tensors, [B, tensor([2, 2], bad, 0, 0, 0)] as const]);
      t.is(send(map, { norm: 5 })?.reason, "finite");
    }
    t.is(send(new Map([...tensors, [B, tensor([2, 2], 0, 4000, 0, 0)]]))?.reason, "norm");
  },
);

test.serial("every reason of the closed set was seen", (t) => {
  t.deepEqual([...seen].sort(), [...screeningReasons].sort());
});

test("an edge of a lower rank sends the first components, at the campaign's scale", (t) => {
  const first = new Map([
    [A, tensor([1, 2], 3, 0)],
    [B, tensor([2, 1], 0, 4)],
  ]);
  const lower = signManifest({ ...statement, rank: 1, alpha: 2 }, key);
  t.is(screen(lower, { ...arrived, contents: contentsOf(first) }), null);
  t.is(screen(lower)?.reason, "schema");
  t.is(screen(signManifest({ ...statement, rank: 3, alpha: 6 }, key))?.reason, "schema");
});

test("top-k sends neither more nor fewer numbers than its share", (t) => {
  const format = { codec: "top-k", topShare: 0.5 } as const;
  const manifest = signManifest({ ...statement, format: formatToWire(format) }, key);
  const screenSent = (...counts: number[]) => {
    const sent = new Map([A, B].map((name, i) => [name, counts[i]!]));
    const found = { ...contentsOf(tensors, "top-k"), sent };
    return screen(manifest, { ...arrived, contents: found }, { ...expected, format });
  };
  t.is(screenSent(2, 2), null);
  t.is(screenSent(2, 1)?.reason, "schema");
  t.is(screenSent(4, 2)?.reason, "schema");
});

test("without a norm bound a large delta passes", (t) => {
  const large = new Map([...tensors, [B, tensor([2, 2], 0, 4000, 0, 0)] as const]);
  const manifest = signManifest({ ...statement, norm: normOf(large) }, key);
  t.is(
    screen(manifest, { ...arrived, contents: contentsOf(large) }, { ...expected, normMax: 0 }),
    null,
  );
});

test("a clipped delta passes the bound that it was clipped to, whatever its size", (t) => {
  const random = seededRandom(4);
  for (const size of [0.5, 9, 11, 1e3, 1e9]) {
    const data = Float32Array.from({ length: 1000 }, () => random.gauss());
    const factor = size / normOf(new Map([["x", { shape: [1000], data }]]));
    const scaled = { shape: [1000], data: data.map((value) => value * factor) };
    const sent = clipNorm(new Map([["x", scaled]]), 10);
    const norm = normOf(sent);
    t.true(Math.abs(norm - Math.min(size, 10)) < 1e-4, `${size} became ${norm}`);
    const expectation = { ...expected, layout: layoutOf(sent) };
    const manifest = signManifest({ ...statement, norm, targets: [] }, key);
    const found = { ...arrived, contents: contentsOf(sent) };
    t.is(screen(manifest, found, expectation), null);
    const strict = screen(manifest, found, { ...expectation, normMax: 9 });
    t.is(strict?.reason, size < 10 ? undefined : "norm");
  }
});

test("a delta is the result less the start, and the result itself in the first round", (t) => {
  const start = new Map([["x", tensor([2], 1, 2)]]);
  const result = new Map([["x", tensor([2], 1.5, 0)]]);
  t.deepEqual(deltaBetween(start, result), new Map([["x", tensor([2], 0.5, -2)]]));
  t.deepEqual(deltaBetween(null, result), result);
  t.throws(() => deltaBetween(new Map([["x", tensor([1, 2], 1, 2)]]), result), {
    message: /x is 2 instead of 1×2/,
  });
});
