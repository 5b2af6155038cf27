// The example sets that training and evaluation use: private ones of every edge, disjoint, and the
// public ones of the base model's own domain. A command alone decides which set it is in.

import fs from "node:fs";
import path from "node:path";
import { seededRandom } from "../../sync/formats/seeded-random.ts";
import {
  type CommandExample,
  type CommandRule,
  drawExample,
  HOME_RULES,
} from "./command-grammar.ts";
import { DIALECT_RULES, type DialectName } from "./dialect-grammar.ts";
import { belongsToEdge, EDGES_PER_DIALECT_MAX, isHeldOut } from "./example-split.ts";

const HOME_REPLAY_SEED = 11;
const HOME_HELD_OUT_SEED = 12;
const DIALECT_HELD_OUT_SEED = 13;
const PRIVATE_SEED = 1000;
/** Draws in a row without a new example, after which a set is taken for exhausted. */
const FRUITLESS_DRAWS_MAX = 20_000;

/**
 * What the users of one edge said: no other edge of the region has any of these commands, and no
 * held-out set. Commands may repeat, as they do in a house.
 */
export function makePrivateExamples(
  dialect: DialectName,
  edgeIndex: number,
  count: number,
): CommandExample[] {
  if (!Number.isInteger(edgeIndex) || edgeIndex < 0 || edgeIndex >= EDGES_PER_DIALECT_MAX) {
    throw new RangeError(`edge ${edgeIndex}: a dialect has examples for ${EDGES_PER_DIALECT_MAX}`);
  }
  const random = seededRandom(PRIVATE_SEED + edgeIndex);
  const rules = DIALECT_RULES[dialect];
  return Array.from({ length: count }, () => {
    // Every rule leads to commands of every edge, so this ends: each draw has 1 chance in 10.
    const rule = random.pick(rules);
    for (;;) {
      const drawn = rule(random);
      if (belongsToEdge(drawn.prompt, edgeIndex)) return drawn;
    }
  });
}

/** Commands of a dialect that no edge trains on. */
export function makeDialectHeldOut(dialect: DialectName, count: number): CommandExample[] {
  return drawDistinct(DIALECT_RULES[dialect], DIALECT_HELD_OUT_SEED, count, isHeldOut);
}

/** Public commands of the home domain that edges mix in, so that they don't forget it. */
export function makeHomeReplay(count: number): CommandExample[] {
  return drawDistinct(HOME_RULES, HOME_REPLAY_SEED, count, (prompt) => !isHeldOut(prompt));
}

/** Commands of the home domain that the base model was not trained on. */
export function makeHomeHeldOut(count: number): CommandExample[] {
  return drawDistinct(HOME_RULES, HOME_HELD_OUT_SEED, count, isHeldOut);
}

/** Writes examples one JSON object a line: {"prompt": …, "completion": …}. */
export function writeExamples(file: string, examples: readonly CommandExample[]): void {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  const lines = examples.map(({ prompt, completion }) => JSON.stringify({ prompt, completion }));
  fs.writeFileSync(file, `${lines.join("\n")}\n`);
}

function drawDistinct(
  rules: readonly CommandRule[],
  seed: number,
  count: number,
  accepts: (prompt: string) => boolean,
): CommandExample[] {
  const random = seededRandom(seed);
  const found = new Map<string, CommandExample>();
  for (let fruitless = 0; found.size < count; fruitless++) {
    if (fruitless === FRUITLESS_DRAWS_MAX) {
      throw new RangeError(`only ${found.size} different examples, not ${count}`);
    }
    const drawn = drawExample(rules, random);
    if (!accepts(drawn.prompt) || found.has(drawn.prompt)) continue;
    found.set(drawn.prompt, drawn);
    fruitless = 0;
  }
  return [...found.values()];
}
