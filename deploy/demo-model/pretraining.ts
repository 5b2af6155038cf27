// Pretrains the demo model from generated text, with checkpoints that it resumes from.

import fs from "node:fs";
import path from "node:path";
import { Trainer } from "../../edge-node/training/trainer.ts";
import type { TokenSequence } from "../../edge-node/training/training-batch.ts";
import { restoreCheckpoint, saveCheckpoint } from "../../edge-node/training/training-checkpoint.ts";
import { readGguf } from "../../sync/formats/gguf-reader.ts";
import { writeGguf } from "../../sync/formats/gguf-writer.ts";
import { seededRandom } from "../../sync/formats/seeded-random.ts";
import { TensorType } from "../../sync/formats/tensor-type.ts";
import { createTokenizer, learnMerges, type Tokenizer } from "./byte-level-bpe.ts";
import { COPYING_RULES, type CommandExample, drawExample, HOME_RULES } from "./command-grammar.ts";
import {
  DEMO_SIZES,
  demoMetadata,
  END_ID,
  type ModelSizes,
  PROMPT_SUFFIX,
  padVocabulary,
  randomWeights,
  SPECIAL_TOKENS,
} from "./demo-architecture.ts";
import { isHeldOut } from "./example-split.ts";

/** How long and from what the model learns. */
export interface PretrainingOptions {
  /** Where the checkpoint and the model in progress lie. */
  readonly folder: string;
  readonly steps: number;
  readonly threads: number;
  readonly learningRate: number;
  /** The share of examples from the model's own domain; the rest is copying. */
  readonly homeShare: number;
  readonly sizes?: ModelSizes;
  readonly sequences?: number;
  readonly checkpointEvery?: number;
  onProgress(progress: PretrainingProgress): void;
}

export interface PretrainingProgress {
  readonly step: number;
  readonly steps: number;
  /** An average over the last few dozen steps. */
  readonly loss: number;
}

const POSITIONS = 48;
const SUPERVISED = 1024;
const SEQUENCES = 32;
const WARMUP_STEPS = 60;
const LAST_LEARNING_RATE_SHARE = 0.05;
const VOCABULARY_SIZE = 768;
const TOKENIZER_TEXTS = 6000;
const TOKENIZER_SEED = 1;
const WEIGHTS_SEED = 42;
const DATA_SEED = 99;
/** Every so many steps the prompts are learned too, not only the answers. */
const WHOLE_TEXT_EVERY = 4;

/** Trains, or goes on training, and returns the path of the f32 model. */
export function pretrain(options: PretrainingOptions): string {
  fs.mkdirSync(options.folder, { recursive: true });
  const tokenizer = demoTokenizer();
  const modelPath = path.join(options.folder, "commands-f32.gguf");
  const checkpointPath = path.join(options.folder, "checkpoint.safetensors");
  const metadata = demoMetadata(options.sizes ?? DEMO_SIZES, tokenizer);
  if (!fs.existsSync(checkpointPath)) {
    const weights = randomWeights(
      options.sizes ?? DEMO_SIZES,
      tokenizer.tokens.length,
      WEIGHTS_SEED,
    );
    writeGguf(modelPath, metadata, weights);
  }
  const trainer = new Trainer({
    model: readGguf(modelPath),
    target: { kind: "full" },
    sequences: options.sequences ?? SEQUENCES,
    positions: POSITIONS,
    supervised: SUPERVISED,
    threads: options.threads,
    weightDecay: 0.01,
    clipNorm: 1,
    transposedType: TensorType.f32,
  });
  restoreCheckpoint(checkpointPath, trainer);

  let average: number | undefined;
  for (let step = trainer.updates; step < options.steps; step = trainer.updates) {
    const loss = trainer.step(batchOf(step, options, tokenizer), learningRateAt(step, options));
    if (step % WHOLE_TEXT_EVERY !== 0) average = (average ?? loss) * 0.95 + loss * 0.05;
    options.onProgress({ step: step + 1, steps: options.steps, loss: average ?? loss });
    const done = trainer.updates === options.steps;
    if (done || trainer.updates % (options.checkpointEvery ?? 100) === 0) {
      saveCheckpoint(checkpointPath, trainer, {});
    }
  }
  const tensors = trainer.parameters.list.map(({ name, dimensions }) => ({
    name,
    dimensions,
    type: TensorType.f32,
    data: trainer.parameters.read(name).value,
  }));
  writeGguf(modelPath, metadata, tensors);
  trainer.free();
  return modelPath;
}

/** The demo model's tokenizer, learned from the same generated text every time. */
export function demoTokenizer(): Tokenizer & { readonly merges: readonly string[] } {
  const random = seededRandom(TOKENIZER_SEED);
  const texts = Array.from({ length: TOKENIZER_TEXTS }, () =>
    textOf(drawExample(random.next() < 0.45 ? HOME_RULES : COPYING_RULES, random)),
  );
  const merges = learnMerges(texts, VOCABULARY_SIZE - 256 - SPECIAL_TOKENS.length);
  const tokenizer = createTokenizer(SPECIAL_TOKENS, merges);
  return { ...tokenizer, tokens: padVocabulary(tokenizer.tokens), merges };
}

function textOf({ prompt, completion }: CommandExample): string {
  return `${prompt}${PROMPT_SUFFIX}${completion}`;
}

/** Each step has a seed of its own, so that a resumed run sees the same batches. */
function batchOf(step: number, options: PretrainingOptions, tokenizer: Tokenizer) {
  const random = seededRandom(DATA_SEED + step * 7919);
  const batch: TokenSequence[] = [];
  let supervised = 0;
  while (batch.length < (options.sequences ?? SEQUENCES)) {
    const rules = random.next() < options.homeShare ? HOME_RULES : COPYING_RULES;
    const { prompt, completion } = drawExample(rules, random);
    if (rules === HOME_RULES && isHeldOut(prompt)) continue;
    const given = tokenizer.encode(prompt + PROMPT_SUFFIX);
    const tokens = [...given, ...tokenizer.encode(completion), END_ID];
    const supervisedFrom = step % WHOLE_TEXT_EVERY === 0 ? 1 : given.length;
    const learned = tokens.length - supervisedFrom;
    if (tokens.length > POSITIONS + 1 || supervised + learned > SUPERVISED) continue;
    supervised += learned;
    batch.push({ tokens, supervisedFrom });
  }
  return batch;
}

/** Warms up, then falls along a half cosine. */
function learningRateAt(step: number, { learningRate, steps }: PretrainingOptions): number {
  const warm = Math.min(1, (step + 1) / WARMUP_STEPS);
  const cosine = 0.5 * (1 + Math.cos((Math.PI * step) / steps));
  return learningRate * warm * (LAST_LEARNING_RATE_SHARE + (1 - LAST_LEARNING_RATE_SHARE) * cosine);
}
