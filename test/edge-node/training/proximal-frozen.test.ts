// What is trained and how far: FedProx's pull towards the start, FFA-LoRA's frozen A, and the first
// components of a rank that an edge can't afford, on real ggml.
import test from "ava";
import { setAdapter, takeAdapter } from "../../../edge-node/training/adapter-exchange.ts";
import { Trainer, type TrainerOptions } from "../../../edge-node/training/trainer.ts";
import type { TokenSequence } from "../../../edge-node/training/training-batch.ts";
import { readGguf } from "../../../sync/formats/gguf-reader.ts";
import { LINEAR_MODULES } from "../../../sync/formats/linear-modules.ts";
import { seededRandom } from "../../../sync/formats/seeded-random.ts";
import { TensorType } from "../../../sync/formats/tensor-type.ts";
import { temporaryFolder, writeTinyModel } from "./tiny-model.ts";

const modelPath = writeTinyModel(temporaryFolder());
const STEPS = 6;
const RATE = 1e-2;
const batch: TokenSequence[] = [
  { tokens: [72, 101, 108, 108, 111, 33, 10], supervisedFrom: 2 },
  { tokens: [66, 121, 101, 46], supervisedFrom: 1 },
];

function createTrainer(
  changes: Partial<TrainerOptions> = {},
  target: { freezeA?: boolean; trainedRank?: number } = {},
): Trainer {
  const trainer = new Trainer({
    model: readGguf(modelPath),
    target: { kind: "lora", rank: 4, alpha: 8, modules: LINEAR_MODULES, ...target },
    sequences: 2,
    positions: 8,
    supervised: 16,
    threads: 1,
    weightDecay: 0,
    clipNorm: 1,
    transposedType: TensorType.f32,
    ...changes,
  });
  const random = seededRandom(3);
  for (const { name, dimensions } of trainer.parameters.list) {
    const [columns = 1, rows = 1] = dimensions;
    const value = Float32Array.from({ length: columns * rows }, () => random.gauss() * 0.1);
    trainer.parameters.write(name, { value });
  }
  trainer.parameters.anchor();
  return trainer;
}

function valuesOf(trainer: Trainer): Map<string, Float32Array> {
  return new Map(
    trainer.parameters.list.map(({ name }) => [name, trainer.parameters.read(name).value]),
  );
}

/** How far some steps take a trainer from its start, in L2. */
function distanceAfter(trainer: Trainer, steps: number): number {
  const start = valuesOf(trainer);
  for (let step = 0; step < steps; step++) trainer.step(batch, RATE);
  let squares = 0;
  for (const [name, end] of valuesOf(trainer)) {
    for (const [i, x] of end.entries()) squares += (x - start.get(name)![i]!) ** 2;
  }
  return Math.sqrt(squares);
}

test("the proximal term adds its weight times the distance to the gradient", (t) => {
  const plain = createTrainer();
  const pulled = createTrainer({ proximal: 0.5 });
  const MOVE = 0.25;
  for (const trainer of [plain, pulled]) {
    for (const { name } of trainer.parameters.list) {
      const { value } = trainer.parameters.read(name);
      trainer.parameters.write(name, { value: value.map((x) => x + MOVE) });
    }
  }
  const expected = plain.gradients(batch);
  let worst = 0;
  for (const [name, gradient] of pulled.gradients(batch)) {
    for (const [i, g] of gradient.entries()) {
      worst = Math.max(worst, Math.abs(g - expected.get(name)![i]! - 0.5 * MOVE));
    }
  }
  t.true(worst < 1e-4, `off by ${worst}`);
  plain.free();
  pulled.free();
});

test("a larger proximal weight keeps the result nearer to its start", (t) => {
  const distances = [0, 10, 1000].map((proximal) => {
    const trainer = createTrainer({ proximal });
    const distance = distanceAfter(trainer, STEPS);
    trainer.free();
    return distance;
  });
  t.true(distances[1]! < distances[0]!, distances.join(" "));
  t.true(distances[2]! < distances[1]!, distances.join(" "));
});

test("at the start the proximal term changes nothing", (t) => {
  const [plain, pulled] = [createTrainer(), createTrainer({ proximal: 7 })];
  for (const trainer of [plain, pulled]) trainer.step(batch, RATE);
  t.deepEqual(valuesOf(pulled), valuesOf(plain));
  plain.free();
  pulled.free();
});

test("a frozen A keeps every bit, and B's gradient is what it would be anyway", (t) => {
  const [free, frozen] = [createTrainer(), createTrainer({}, { freezeA: true })];
  const expected = free.gradients(batch);
  const found = frozen.gradients(batch);
  t.deepEqual(
    [...found.keys()],
    [...expected.keys()].filter((name) => name.endsWith(".lora_b")),
  );
  for (const [name, gradient] of found) t.deepEqual(gradient, expected.get(name), name);
  const start = valuesOf(frozen);
  for (let step = 0; step < STEPS; step++) frozen.step(batch, RATE);
  for (const [name, value] of valuesOf(frozen)) {
    if (name.endsWith(".lora_a")) t.deepEqual(value, start.get(name), name);
    else t.notDeepEqual(value, start.get(name), name);
  }
  free.free();
  frozen.free();
});

test("the first components are trained as parts of the whole, whose rest keeps every bit", (t) => {
  const target = { kind: "lora", rank: 4, alpha: 8, modules: LINEAR_MODULES } as const;
  const whole = createTrainer();
  const start = takeAdapter(whole, "llama", target);
  const part = createTrainer({}, { trainedRank: 1 });
  setAdapter(part, start, { ...target, trainedRank: 1 });
  t.true(Math.abs(part.evaluate(batch) - whole.evaluate(batch)) < 1e-5, "both pass the whole rank");
  const expected = whole.gradients(batch);
  for (const [name, gradient] of part.gradients(batch)) {
    const of = expected.get(name)!;
    // [inputs, 1] of A are its first row; [1, outputs] of B are every fourth number.
    const wanted = name.endsWith(".lora_a") ? of : of.filter((_, i) => i % 4 === 0);
    for (const [i, g] of gradient.entries()) t.true(Math.abs(g - wanted[i]!) < 1e-4, name);
  }
  for (let step = 0; step < STEPS; step++) part.step(batch, RATE);
  const end = takeAdapter(part, "llama", { ...target, trainedRank: 1 });
  for (const [weight, { inputs, a, b }] of end.modules) {
    const before = start.modules.get(weight)!;
    t.deepEqual(a.slice(inputs), before.a.slice(inputs), weight);
    t.notDeepEqual(a.slice(0, inputs), before.a.slice(0, inputs), weight);
    const moved = [0, 1, 2, 3].filter((k) => b.some((x, i) => i % 4 === k && x !== before.b[i]));
    t.deepEqual(moved, [0], weight);
  }
  whole.free();
  part.free();
});
