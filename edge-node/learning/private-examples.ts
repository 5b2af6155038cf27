// The private examples of an edge: JSONL lines {"prompt","completion"}. They are read here, given
// to the trainer and the evaluator of this edge, and nothing else. Faults name a line's number,
// never its text.
import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { Fault } from "../../proto/fault.ts";

export interface Example {
  readonly prompt: string;
  readonly completion: string;
}

/** Where the private examples for one model lie. */
export interface PrivateData {
  /** What reports call it, e.g. the dialect's name. */
  readonly name: string;
  /** JSONL files. Without `heldout` a fixed share of `train` is held out. */
  readonly train: string;
  readonly heldout?: string | undefined;
}

export interface PrivateSplit {
  readonly train: readonly Example[];
  /** Never trained on. */
  readonly heldout: readonly Example[];
}

const FILE_BYTES_MAX = 256 << 20;
const TEXT_LENGTH_MAX = 64 << 10;
/** One in this many is held out when no file of its own says which. */
const HELDOUT_ONE_IN = 5;

/** Reads and checks a JSONL file. Faults: `invalid-argument`, naming the file and line. */
export function readExamples(path: string): readonly Example[] {
  const { size } = statFile(path);
  if (size > FILE_BYTES_MAX) {
    throw new Fault("payload-too-large", `${path} has ${size} bytes of at most ${FILE_BYTES_MAX}`);
  }
  return parseExamples(readFileSync(path, "utf8"), path);
}

/** Parses JSONL; blank lines are skipped. `source` names it in faults. */
export function parseExamples(text: string, source: string): readonly Example[] {
  const examples: Example[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() !== "") examples.push(parseLine(line, `${source}: line ${index + 1}`));
  }
  if (examples.length === 0) throw new Fault("invalid-argument", `${source}: no examples`);
  return examples;
}

/** JSONL again, for the trainer. */
export function formatExamples(examples: readonly Example[]): string {
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
function isHeldOut({ prompt }: Example): boolean {
  return createHash("sha256").update(prompt).digest().readUInt32LE(0) % HELDOUT_ONE_IN === 0;
}

function parseLine(line: string, where: string): Example {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    // The parser's message would quote the line.
    throw new Fault("invalid-argument", `${where}: not JSON`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Fault("invalid-argument", `${where}: not an object`);
  }
  const { prompt, completion, ...rest } = value as Record<string, unknown>;
  if (Object.keys(rest).length > 0) {
    throw new Fault("invalid-argument", `${where}: holds more than prompt and completion`);
  }
  return {
    prompt: textOf(prompt, where, "prompt"),
    completion: textOf(completion, where, "completion"),
  };
}

function textOf(value: unknown, where: string, field: string): string {
  if (typeof value !== "string" || value === "") {
    throw new Fault("invalid-argument", `${where}: ${field} must be a text`);
  }
  if (value.length > TEXT_LENGTH_MAX) {
    throw new Fault("invalid-argument", `${where}: ${field} is longer than ${TEXT_LENGTH_MAX}`);
  }
  return value;
}

function statFile(path: string): { readonly size: number } {
  try {
    return statSync(path);
  } catch (cause) {
    throw new Fault("not-found", `${path} can't be read`, { cause });
  }
}
