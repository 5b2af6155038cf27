// Codecs give back what they were given, within the error that each states.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import fc from "fast-check";
import { encodeBrainFloats } from "../../../../sync/delta/codec/brain-float.ts";
import { encodeDelta } from "../../../../sync/delta/codec/delta-encoder.ts";
import { openDelta } from "../../../../sync/delta/codec/delta-file.ts";
import { topCount } from "../../../../sync/delta/codec/delta-format.ts";
import { readDelta, scanDelta } from "../../../../sync/delta/codec/delta-numbers.ts";
import { INT8_BLOCK, int8ErrorMax } from "../../../../sync/delta/codec/int8-blocks.ts";
import { layoutOf, normOf, sortedNames } from "../../../../sync/delta/tensor-map.ts";
import { decodeSafetensors, encodeSafetensors } from "../../../../sync/formats/safetensors.ts";
import { seededRandom } from "../../../../sync/formats/seeded-random.ts";
import { anyTensors, formats, inFolder, throughFile, usualTensors } from "./codec-fixture.ts";

const seed = 20261121;
const [f32, bf16, int8, topTenth] = formats as [
  (typeof formats)[number],
  (typeof formats)[number],
  (typeof formats)[number],
  (typeof formats)[number],
];

test("f32 gives back every bit, as the plain safetensors file of the sorted tensors", async (t) => {
  await inFolder((dir) =>
    fc.assert(
      fc.asyncProperty(anyTensors, async (tensors) => {
        const { tensors: back } = await throughFile(dir, tensors, f32);
        t.deepEqual(back, new Map(sortedNames(tensors).map((name) => [name, tensors.get(name)!])));
        const plain = encodeSafetensors({ metadata: {}, tensors: back });
        t.deepEqual(Buffer.from(encodeDelta(tensors, f32)), Buffer.from(plain));
      }),
      { seed, numRuns: 60 },
    ),
  );
});

test("bf16 is off by at most 2^-8 of each number, and what is finite stays finite", async (t) => {
  await inFolder((dir) =>
    fc.assert(
      fc.asyncProperty(anyTensors, async (tensors) => {
        const { tensors: back, codec } = await throughFile(dir, tensors, bf16);
        t.is(codec, "bf16");
        for (const [name, { data }] of tensors) {
          for (const [i, x] of data.entries()) {
            const error = Math.abs(back.get(name)!.data[i]! - x);
            t.true(error <= Math.max(Math.abs(x) * 2 ** -8, 2 ** -134), `${x} is off by ${error}`);
          }
        }
      }),
      { seed, numRuns: 60 },
    ),
  );
});

test("bf16 rounds to nearest with ties to even, and keeps NaN, infinities and signs", (t) => {
  const bits = Uint32Array.of(
    0x3f808000, // a tie: 1.0 is even
    0x3f818000, // a tie: up to even
    0x3f808001,
    0xbf80ffff,
    0x7f7fffff, // the largest f32
    0x7f800001, // a NaN whose bits are all in the lower half
    0xff800000,
    0x80000000,
  );
  const halves = encodeBrainFloats(new Float32Array(bits.buffer));
  const expected = [0x3f80, 0x3f82, 0x3f81, 0xbf81, 0x7f7f, 0x7fc0, 0xff80, 0x8000];
  t.deepEqual([...halves], expected);
});

test("int8 is off by at most 1/254 of the largest number of its block", async (t) => {
  await inFolder((dir) =>
    fc.assert(
      fc.asyncProperty(fc.oneof(anyTensors, usualTensors), async (tensors) => {
        const { tensors: back, codec } = await throughFile(dir, tensors, int8);
        t.is(codec, "int8");
        for (const [name, { data }] of tensors) {
          for (const [i, x] of data.entries()) {
            const first = i - (i % INT8_BLOCK);
            const block = data.subarray(first, first + INT8_BLOCK);
            const largest = block.reduce((max, y) => Math.max(max, Math.abs(y)), 0);
            const error = Math.abs(back.get(name)!.data[i]! - x);
            t.true(error <= int8ErrorMax(largest), `${x} of ${largest} is off by ${error}`);
          }
        }
      }),
      { seed, numRuns: 100 },
    ),
  );
});

test("top-k sends the largest numbers as they are, and leaves out what it states", async (t) => {
  await inFolder((dir) =>
    fc.assert(
      fc.asyncProperty(
        usualTensors,
        fc.constantFrom(0.01, 0.1, 0.5, 1),
        async (tensors, topShare) => {
          const format = { codec: "top-k", topShare } as const;
          const { tensors: back, codec } = await throughFile(dir, tensors, format);
          t.is(codec, "top-k");
          for (const [name, { data }] of tensors) {
            const { data: got } = back.get(name)!;
            const k = topCount(data.length, topShare);
            const left = data.map((x, i) => x - got[i]!);
            t.true(data.every((x, i) => Object.is(got[i], x) || got[i] === 0));
            t.true(got.filter((x) => x !== 0).length <= k);
            const smallestSent = got.reduce((m, x) => (x ? Math.min(m, Math.abs(x)) : m), 9);
            t.true(left.every((x) => Math.abs(x) <= smallestSent));
            const squares = (x: Float32Array) => x.reduce((sum, y) => sum + y * y, 0);
            t.true(squares(left) <= (1 - k / data.length) * squares(data) * (1 + 1e-9) + 1e-30);
          }
        },
      ),
      { seed, numRuns: 100 },
    ),
  );
});

test("a number that isn't finite is never hidden, whatever the codec", async (t) => {
  await inFolder(async (dir) => {
    const random = seededRandom(5);
    for (const format of formats) {
      for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
        const data = Float32Array.from({ length: 300 }, () => random.gauss());
        data[217] = bad;
        const tensors = new Map([["x", { shape: [300], data }]]);
        const { path } = await throughFile(dir, tensors, format);
        t.is((await scanDelta(path, layoutOf(tensors))).notFinite, "x", `${format.codec} ${bad}`);
      }
    }
  });
});

test("a scan finds the very norm that the decoded tensors have, across pieces too", async (t) => {
  await inFolder(async (dir) => {
    const random = seededRandom(6);
    const large = Float32Array.from({ length: (1 << 18) + 77 }, () => random.gauss());
    const small = Float32Array.from({ length: 7 }, () => random.gauss());
    const tensors = new Map([
      ["b", { shape: [large.length], data: large }],
      ["a", { shape: [7, 1], data: small }],
    ]);
    for (const format of formats) {
      const { path, tensors: back } = await throughFile(dir, tensors, format);
      const { norm, layout, sent, notFinite } = await scanDelta(path, layoutOf(tensors));
      t.is(norm, normOf(back));
      t.is(notFinite, null);
      t.deepEqual(layout.get("a"), [7, 1]);
      t.is(sent.get("a"), format === topTenth ? 1 : 7);
    }
  });
});

test("each codec is as small as it should be", (t) => {
  const random = seededRandom(7);
  const data = Float32Array.from({ length: 64_000 }, () => random.gauss());
  const tensors = new Map([["x", { shape: [64, 1000], data }]]);
  const perNumber = formats.map((format) => encodeDelta(tensors, format).length / data.length);
  for (const [i, expected] of [4, 2, 1 + 4 / 64, 0.8].entries()) {
    t.true(perNumber[i]! >= expected && perNumber[i]! < expected + 0.01, `${perNumber[i]}`);
  }
});

test("files that lie about themselves are refused, and none of them costs memory", async (t) => {
  await inFolder(async (dir) => {
    const data = Float32Array.from({ length: 100 }, (_, i) => i - 50);
    const tensors = new Map([["x", { shape: [100], data }]]);
    const path = join(dir, "bad.safetensors");
    const change = (format: (typeof formats)[number], edit: (header: Header) => void) => {
      const bytes = Buffer.from(encodeDelta(tensors, format));
      const headerBytes = Number(bytes.readBigUInt64LE(0));
      const header = JSON.parse(bytes.toString("utf8", 8, 8 + headerBytes));
      edit(header);
      const json = Buffer.from(JSON.stringify(header));
      const padded = Math.ceil(json.length / 8) * 8;
      const head = Buffer.alloc(8 + padded, " ");
      head.writeBigUInt64LE(BigInt(padded));
      json.copy(head, 8);
      writeFileSync(path, Buffer.concat([head, bytes.subarray(8 + headerBytes)]));
    };
    const edits: [(typeof formats)[number], (header: Header) => void][] = [
      [f32, (h) => (h.x!.shape = [99])],
      [f32, (h) => (h.x!.shape = [2 ** 40, 2 ** 40])],
      [f32, (h) => (h.x!.data_offsets = [0, 2 ** 50])],
      [f32, (h) => (h.x!.dtype = "F64")],
      [f32, (h) => (h.y = h.x!)],
      [int8, (h) => delete h["x#scales"]],
      [int8, (h) => (h["x#scales"]!.shape = [1, 2])],
      [topTenth, (h) => (h.__metadata__ = { shapes: "{" })],
      [topTenth, (h) => (h.__metadata__ = { shapes: '{"x":[3]}' })],
      [topTenth, (h) => (h.__metadata__ = { shapes: '{"y":[100]}' })],
      [topTenth, (h) => (h["x#index"]!.dtype = "F32")],
    ];
    for (const [format, edit] of edits) {
      change(format, edit);
      await t.throwsAsync(openDelta(path), { message: /^not a delta file/ }, edit.toString());
    }
    // A shape that nobody could hold: never decoded, because it isn't the one expected.
    change(topTenth, (h) => (h.__metadata__ = { shapes: '{"x":[1000000,1000000]}' }));
    t.is((await scanDelta(path, layoutOf(tensors))).norm, Number.NaN);
    for (const bytes of [
      Buffer.alloc(3),
      Buffer.alloc(64, 255),
      Buffer.from("\x02\0\0\0\0\0\0\0{}"),
    ]) {
      writeFileSync(path, bytes);
      await t.throwsAsync(openDelta(path), { message: /^not a delta file/ });
    }
  });
});

interface Header {
  [name: string]: { shape: number[]; dtype: string; data_offsets: number[] };
  // biome-ignore lint/suspicious/noExplicitAny: metadata is another kind of entry
  __metadata__?: any;
}

test("top-k places that go back or beyond are refused", async (t) => {
  await inFolder(async (dir) => {
    const data = Float32Array.from({ length: 30 }, (_, i) => i);
    const bytes = encodeDelta(new Map([["x", { shape: [30], data }]]), topTenth);
    const file = Buffer.from(bytes);
    const path = join(dir, "places.safetensors");
    const index = file.length - 24;
    t.is(file.readUInt32LE(index), 27);
    for (const [place, value] of [
      [4, 27],
      [8, 30],
      [8, 2 ** 31],
    ] as const) {
      const changed = Buffer.from(file);
      changed.writeUInt32LE(value, index + place);
      writeFileSync(path, changed);
      await t.throwsAsync(readDelta(path), { message: /^place \d+ after \d+/ });
    }
  });
});

test("other readers of safetensors understand bf16", (t) => {
  const tensors = new Map([["x", { shape: [2], data: Float32Array.of(1.5, -3) }]]);
  t.deepEqual(decodeSafetensors(Buffer.from(encodeDelta(tensors, bf16)), "x").tensors, tensors);
});
