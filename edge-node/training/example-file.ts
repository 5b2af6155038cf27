// Reads training examples from JSONL: one {"prompt", "completion"} a line.

import fs from "node:fs";
import { Fault } from "../../proto/fault.ts";

/** What a user said, and what the model should have answered. */
export interface TrainingExample {
  readonly prompt: string;
  readonly completion: string;
}

const FILE_BYTES_MAX = 1 << 28;
const EXAMPLES_MAX = 1_000_000;

/** Reads a whole file. Faults: invalid-argument with the line's number, never with its text. */
export function readExamples(file: string): TrainingExample[] {
  const size = fs.statSync(file, { throwIfNoEntry: false })?.size;
  if (size === undefined) throw new Fault("invalid-argument", `${file} doesn't exist`);
  if (size > FILE_BYTES_MAX) {
    throw new Fault("invalid-argument", `${file}: ${size} bytes, at most ${FILE_BYTES_MAX}`);
  }
  const examples: TrainingExample[] = [];
  const lines = fs.readFileSync(file, "utf8").split("\n");
  lines.forEach((line, index) => {
    if (line.trim() !== "") examples.push(parseExample(line, `${file}:${index + 1}`));
  });
  if (examples.length === 0) {
    throw new Fault("invalid-argument", `${file} has no examples; add one JSON object a line`);
  }
  if (examples.length > EXAMPLES_MAX) {
    throw new Fault("invalid-argument", `${file}: more than ${EXAMPLES_MAX} examples`);
  }
  return examples;
}

/** Reads one line. Faults: invalid-argument that says `where`, never with its text. */
export function parseExample(line: string, where: string): TrainingExample {
  let parsed: unknown;
  try {
    parsed = JSON.parse(line);
  } catch {
    // The parser's own message would quote private text.
    throw new Fault("invalid-argument", `${where}: not a JSON object`);
  }
  const { prompt, completion } = (parsed ?? {}) as Partial<TrainingExample>;
  if (typeof prompt !== "string" || typeof completion !== "string" || completion === "") {
    throw new Fault(
      "invalid-argument",
      `${where}: needs the strings "prompt" and "completion" (the latter not empty)`,
    );
  }
  return { prompt, completion };
}
