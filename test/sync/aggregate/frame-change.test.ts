// A change of factors keeps its meaning in other factors of the same product.
import test from "ava";
import { changeFrame } from "../../../sync/aggregate/frame-change.ts";
import { pairOf } from "../../../sync/aggregate/lora-stack.ts";
import { type Matrix, multiply, sum } from "../../../sync/aggregate/matrix.ts";
import type { TensorMap } from "../../../sync/delta/tensor-map.ts";
import { seededRandom } from "../../../sync/formats/seeded-random.ts";

const [OUT, INPUTS, RANK] = [7, 9, 3];
const WEIGHT = "blk.0.attn_q.weight";
const random = seededRandom(11);
const numbers = (count: number) => Float32Array.from({ length: count }, () => random.gauss());

const adapter = (a = numbers(RANK * INPUTS), b = numbers(OUT * RANK)): TensorMap =>
  new Map([
    [`${WEIGHT}.lora_a`, { shape: [RANK, INPUTS], data: a }],
    [`${WEIGHT}.lora_b`, { shape: [OUT, RANK], data: b }],
  ]);

/** dB·A + B·dA. */
function productChange(change: TensorMap, at: TensorMap): Matrix {
  const { a, b } = pairOf(at, WEIGHT);
  const { a: da, b: db } = pairOf(change, WEIGHT);
  return sum(multiply(db, a), multiply(b, da));
}

const distance = (x: Matrix, y: Matrix) =>
  Math.max(...x.data.map((value, i) => Math.abs(value - y.data[i]!)));

/** The same product in other factors: B·G and G⁻¹·A, where G adds multiples of earlier columns. */
function reframed(tensors: TensorMap): TensorMap {
  const { a, b } = pairOf(tensors, WEIGHT);
  const newB = Float32Array.from(b.data);
  const newA = Float32Array.from(a.data);
  for (const [to, from, factor] of [
    [1, 0, 0.5],
    [2, 1, -2],
    [0, 2, 1.5],
  ] as const) {
    for (let i = 0; i < OUT; i++) newB[i * RANK + to]! += factor * newB[i * RANK + from]!;
    for (let j = 0; j < INPUTS; j++) newA[from * INPUTS + j]! -= factor * newA[to * INPUTS + j]!;
  }
  return adapter(newA, newB);
}

test("in other factors of the same product a change changes the product the same way", (t) => {
  const from = adapter();
  const to = reframed(from);
  const product = (at: TensorMap) => multiply(pairOf(at, WEIGHT).b, pairOf(at, WEIGHT).a);
  t.true(distance(product(from), product(to)) < 1e-4);
  const change = adapter();
  const told = changeFrame(change, from, to);
  t.true(distance(productChange(told, to), productChange(change, from)) < 1e-4);
  t.true(distance(productChange(change, to), productChange(change, from)) > 0.5);
});

test("in the same factors it stays what it is", (t) => {
  const from = adapter();
  const change = adapter();
  for (const [name, { data }] of changeFrame(change, from, from)) {
    t.true(data.every((x, i) => Math.abs(x - change.get(name)!.data[i]!) < 1e-5));
  }
});

test("where B is 0 a change of A has no effect, and none is told", (t) => {
  const from = adapter(undefined, new Float32Array(OUT * RANK));
  const to = adapter(Float32Array.from(from.get(`${WEIGHT}.lora_a`)!.data));
  const change = adapter();
  const told = changeFrame(change, from, to);
  t.true(distance(productChange(told, to), productChange(change, from)) < 1e-4);
  const nowhere = changeFrame(change, to, from);
  t.true(nowhere.get(`${WEIGHT}.lora_a`)!.data.every((x) => x === 0));
});
