// The private examples of an edge, by model, and which of them are never trained on. They come from
// the files that its configuration names and from what the edge keeps of feedback and imports; they
// are given to the trainer and the evaluator of this edge, and to nothing else.
import { isHeldOut } from "../examples/evaluation-split.ts";
import { readExamples, type TrainingExample } from "../training/example-file.ts";

/** Where the private examples for one model are. */
export interface PrivateData {
  /** What reports call it, e.g. the dialect's name. */
  readonly name: string;
  /** JSONL files. Without `heldout` a fixed share of `train` is held out. */
  readonly train?: string | undefined;
  readonly heldout?: string | undefined;
  /** What callers and the operator have given since. */
  readonly kept?: KeptExamples | undefined;
}

/** Examples that come and go while the edge runs. */
export interface KeptExamples {
  /** Changes whenever the examples do. */
  readonly revision: number;
  /** Number of the newest one. */
  readonly newest: number;
  split(): PrivateSplit;
  /** Those up to this number have been learned from. */
  learned(newest: number): void;
}

/** The private examples for a model; undefined where there are none. */
export type PrivateDataOf = (model: string) => PrivateData | undefined;

export interface PrivateSplit {
  readonly train: readonly TrainingExample[];
  /** Never trained on. */
  readonly heldout: readonly TrainingExample[];
}

/** JSONL again, for the trainer. */
export function formatExamples(examples: readonly TrainingExample[]): string {
  return examples
    .map(({ prompt, completion }) => `${JSON.stringify({ prompt, completion })}\n`)
    .join("");
}

/** Reads both parts of a model's private data. The same examples are held out every time. */
export function readPrivateSplit(data: PrivateData): PrivateSplit {
  const filed = readFiles(data);
  const kept = data.kept?.split();
  if (kept === undefined) return filed;
  const heldout = [...filed.heldout, ...kept.heldout];
  // The files say themselves what is held out: their rule and that of the kept ones may differ.
  const proving = new Set(heldout.map(({ prompt }) => prompt));
  const train = [...filed.train, ...kept.train].filter(({ prompt }) => !proving.has(prompt));
  return { train, heldout };
}

function readFiles({ train, heldout }: PrivateData): PrivateSplit {
  if (train === undefined) return { train: [], heldout: [] };
  const examples = readExamples(train);
  if (heldout !== undefined) return { train: examples, heldout: readExamples(heldout) };
  return {
    train: examples.filter((example) => !isHeldOut(example)),
    heldout: examples.filter(isHeldOut),
  };
}
