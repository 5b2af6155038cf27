// The private examples of an edge, by model, and which of them are never trained on. They are given
// to the trainer and the evaluator of this edge, and to nothing else.
import { createHash } from "node:crypto";
import { readExamples, type TrainingExample } from "../training/example-file.ts";

/** Where the private examples for one model lie. */
export interface PrivateData {
  /** What reports call it, e.g. the dialect's name. */
  readonly name: string;
  /** JSONL files. Without `heldout` a fixed share of `train` is held out. */
  readonly train: string;
  readonly heldout?: string | undefined;
}

export interface PrivateSplit {
  readonly train: readonly TrainingExample[];
  /** Never trained on. */
  readonly heldout: readonly TrainingExample[];
}

/** One in this many is held out when no file of its own says which. */
const HELDOUT_ONE_IN = 5;

/** JSONL again, for the trainer. */
export function formatExamples(examples: readonly TrainingExample[]): string {
  return examples
    .map(({ prompt, completion }) => `${JSON.stringify({ prompt, completion })}\n`)
    .join("");
}

/** Reads both parts of a model's private data. The same examples are held out every time. */
export function readPrivateSplit(data: PrivateData): PrivateSplit {
  const examples = readExamples(data.train);
  if (data.heldout !== undefined) return { train: examples, heldout: readExamples(data.heldout) };
  const heldout = examples.filter(isHeldOut);
  return { train: examples.filter((example) => !isHeldOut(example)), heldout };
}

/** By the prompt alone, so that two completions of one prompt are never on both sides. */
function isHeldOut({ prompt }: TrainingExample): boolean {
  return createHash("sha256").update(prompt).digest().readUInt32LE(0) % HELDOUT_ONE_IN === 0;
}
