// The gradients of our own reverse mode against central finite differences, on real ggml.
import test from "ava";
import { Trainer, type TrainerOptions } from "../../../edge-node/training/trainer.ts";
import type { TokenSequence } from "../../../edge-node/training/training-batch.ts";
import { readGguf } from "../../../sync/formats/gguf-reader.ts";
import { LINEAR_MODULES } from "../../../sync/formats/linear-modules.ts";
import { seededRandom } from "../../../sync/formats/seeded-random.ts";
import { TensorType } from "../../../sync/formats/tensor-type.ts";
import { temporaryFolder, writeTinyModel } from "./tiny-model.ts";

const folder = temporaryFolder();
const COORDINATES_EACH = 3;
const NUDGE = 1e-2;

function createTrainer(options: Partial<TrainerOptions> & { modelPath: string }): Trainer {
  const trainer = new Trainer({
    model: readGguf(options.modelPath),
    target: { kind: "lora", rank: 4, alpha: 8, modules: LINEAR_MODULES },
    sequences: 2,
    positions: 16,
    supervised: 32,
    threads: 1,
    weightDecay: 0,
    clipNorm: 1,
    transposedType: TensorType.f32,
    ...options,
  });
  // B starts at zero, where the gradient of A is zero too; so nudge everything.
  const random = seededRandom(3);
  for (const { name, dimensions } of trainer.parameters.list) {
    if (!name.includes(".lora_")) continue;
    const [columns = 1, rows = 1] = dimensions;
    const value = Float32Array.from({ length: columns * rows }, () => random.gauss() * 0.1);
    trainer.parameters.write(name, { value });
  }
  return trainer;
}

function randomBatch(): TokenSequence[] {
  const random = seededRandom(17);
  return [17, 12].map((length) => ({
    tokens: Array.from({ length }, () => random.below(258)),
    supervisedFrom: 4,
  }));
}

/** Relative difference over all sampled coordinates, of our gradient and finite differences. */
function finiteDifferenceError(trainer: Trainer, batch: readonly TokenSequence[]): number {
  const random = seededRandom(23);
  const gradients = trainer.gradients(batch);
  let difference = 0;
  let size = 0;
  for (const { name } of trainer.parameters.list) {
    const { value } = trainer.parameters.read(name);
    const gradient = gradients.get(name) as Float32Array;
    for (let k = 0; k < COORDINATES_EACH; k++) {
      const at = random.below(value.length);
      const lossAt = (x: number) => {
        trainer.parameters.write(name, { value: value.with(at, x) });
        return trainer.evaluate(batch);
      };
      const center = value[at] as number;
      const slope = (lossAt(center + NUDGE) - lossAt(center - NUDGE)) / (2 * NUDGE);
      trainer.parameters.write(name, { value });
      difference += (slope - (gradient[at] as number)) ** 2;
      size += slope ** 2;
    }
  }
  return Math.sqrt(difference / size);
}

/** Relative difference of two trainers' gradients, the worst over all parameters. */
function gradientError(one: Trainer, other: Trainer, batch: readonly TokenSequence[]): number {
  const expected = other.gradients(batch);
  const errors = [...one.gradients(batch)].map(([name, found]) => {
    const wanted = expected.get(name) as Float32Array;
    const sum = (f: (i: number) => number) => wanted.reduce((total, _, i) => total + f(i) ** 2, 0);
    return Math.sqrt(
      sum((i) => (found[i] as number) - (wanted[i] as number)) / sum((i) => wanted[i] as number),
    );
  });
  return Math.max(...errors);
}

for (const untied of [false, true]) {
  const kind = untied ? "an output matrix" : "a tied output";
  test(`LoRA gradients agree with finite differences, with ${kind}`, (t) => {
    const trainer = createTrainer({
      modelPath: writeTinyModel(folder, TensorType.f32, { untied }),
    });
    const error = finiteDifferenceError(trainer, randomBatch());
    t.true(error < 5e-3, `relative error ${error}`);
    trainer.free();
  });
}

test("gradients of the weights themselves agree with finite differences", (t) => {
  const modelPath = writeTinyModel(folder);
  const trainer = createTrainer({ modelPath, target: { kind: "full" } });
  const error = finiteDifferenceError(trainer, randomBatch());
  t.true(error < 2e-2, `relative error ${error}`);
  trainer.free();
});

test("transposed copies in f16 and q8_0 keep the gradient's direction", (t) => {
  const modelPath = writeTinyModel(folder, TensorType.q8_0);
  const batch = randomBatch();
  const exact = createTrainer({ modelPath });
  for (const [transposedType, bound] of [
    [TensorType.f16, 2e-2],
    [TensorType.q8_0, 8e-2],
  ] as const) {
    const trainer = createTrainer({ modelPath, transposedType });
    const error = gradientError(trainer, exact, batch);
    t.true(error < bound, `relative error ${error}`);
    trainer.free();
  }
  exact.free();
});

test("rows that carry no loss contribute nothing to the gradient", (t) => {
  const modelPath = writeTinyModel(folder);
  const batch = randomBatch();
  const tight = createTrainer({ modelPath, supervised: 21 });
  const wide = createTrainer({ modelPath, supervised: 64 });
  t.true(Math.abs(tight.evaluate(batch) - wide.evaluate(batch)) < 1e-5);
  t.true(gradientError(tight, wide, batch) < 1e-4);
  tight.free();
  wide.free();
});
