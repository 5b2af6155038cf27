// Which private examples are trained on, and which never are.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { formatExamples, readPrivateSplit } from "../../../edge-node/learning/private-examples.ts";
import { linesOf, secretsOf } from "./learning-fixture.ts";

const dir = mkdtempSync(join(tmpdir(), "isthmus-private-"));
test.after.always(() => rmSync(dir, { recursive: true }));

test("without a held-out file a fixed fifth is held out, whatever the order", (t) => {
  const train = join(dir, "all.jsonl");
  const examples = secretsOf("us-1", 500);
  writeFileSync(train, formatExamples(examples));
  const split = readPrivateSplit({ name: "x", train });
  t.is(split.train.length + split.heldout.length, 500);
  t.true(split.heldout.length > 60 && split.heldout.length < 140);
  writeFileSync(train, formatExamples(examples.toReversed()));
  const again = readPrivateSplit({ name: "x", train });
  t.deepEqual(again.heldout.toReversed(), split.heldout);
});

test("two answers to one prompt are never on both sides", (t) => {
  const train = join(dir, "twice.jsonl");
  const once = secretsOf("us-1", 50);
  writeFileSync(train, linesOf(once) + linesOf(once.map((e) => ({ ...e, completion: "other" }))));
  const split = readPrivateSplit({ name: "x", train });
  const prompts = new Set(split.train.map(({ prompt }) => prompt));
  t.true(split.heldout.length > 0 && split.heldout.every(({ prompt }) => !prompts.has(prompt)));
});

test("what the edge was given is learned from too, and what proves is never trained on", (t) => {
  const file = (name: string, examples: readonly unknown[]) => {
    const path = join(dir, name);
    writeFileSync(path, linesOf(examples));
    return path;
  };
  const [first, second, ...filed] = secretsOf("filed", 10);
  const given = secretsOf("given", 3);
  const proofs = secretsOf("proof", 2);
  const kept = {
    ...{ revision: 1, newest: 5, learned: () => {} },
    // The first of the file's came here as well, on the side that proves.
    split: () => ({ train: [...given, proofs[0]!], heldout: [first!] }),
  };
  const train = file("filed.jsonl", [first, second, ...filed]);
  const heldout = file("proofs.jsonl", proofs);
  t.deepEqual(readPrivateSplit({ name: "x", train, heldout, kept }), {
    train: [second!, ...filed, ...given],
    heldout: [...proofs, first!],
  });
  t.deepEqual(readPrivateSplit({ name: "x", kept }).train, [...given, proofs[0]!]);
  t.deepEqual(readPrivateSplit({ name: "x" }), { train: [], heldout: [] });
});
