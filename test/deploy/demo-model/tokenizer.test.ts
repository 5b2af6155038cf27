// Our tokenizer against the engine's, on the committed model, and the prompt that its chat
// template makes.
import path from "node:path";
import test from "ava";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import {
  COPYING_RULES,
  drawExample,
  HOME_RULES,
} from "../../../deploy/demo-model/command-grammar.ts";
import { PROMPT_SUFFIX } from "../../../deploy/demo-model/demo-architecture.ts";
import { DIALECT_NAMES, DIALECT_RULES } from "../../../deploy/demo-model/dialect-grammar.ts";
import { demoTokenizer } from "../../../deploy/demo-model/pretraining.ts";
import { createPromptReader } from "../../../edge-node/engine/llama/prompt-reader.ts";
import { seededRandom } from "../../../sync/formats/seeded-random.ts";

const modelPath = path.join(import.meta.dirname, "../../../deploy/demo-model/commands-q8_0.gguf");
const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath, vocabOnly: true, gpuLayers: 0 });
const tokenizer = demoTokenizer();
test.after(() => llama.dispose());

/** Commands of all domains, then text of any script, spacing and punctuation. */
function sampleTexts(): string[] {
  const random = seededRandom(77);
  const rules = [HOME_RULES, COPYING_RULES, ...DIALECT_NAMES.map((name) => DIALECT_RULES[name])];
  const commands = Array.from({ length: 600 }, () => {
    const { prompt, completion } = drawExample(random.pick(rules), random);
    return prompt + PROMPT_SUFFIX + completion;
  });
  const pieces = [
    "a",
    "Zß",
    "é",
    "中文",
    "１２",
    "7",
    "  ",
    "\n",
    "\t",
    "'s",
    "'ll",
    "—",
    '{"',
    "\u{1f600}",
  ];
  const mixed = Array.from({ length: 200 }, () =>
    Array.from({ length: 1 + random.below(12) }, () => random.pick(pieces)).join(""),
  );
  return [...commands, ...mixed];
}

test("800 texts of all kinds give the ids that llama.cpp gives", (t) => {
  for (const text of sampleTexts()) {
    const ours = tokenizer.encode(text);
    if (ours.join() !== model.tokenize(text).join()) {
      t.deepEqual(ours, [...model.tokenize(text)], JSON.stringify(text));
    }
  }
  t.deepEqual(
    model.fileInfo.metadata.tokenizer.ggml.tokens,
    tokenizer.tokens as string[],
    "the committed model has this tokenizer",
  );
});

test("a chat becomes its last command and the suffix, without other tokens", (t) => {
  const reader = createPromptReader(model, 2048);
  const command = "turn on the hall light";
  const expected = tokenizer.encode(command + PROMPT_SUFFIX);
  const user = { role: "user" as const, content: command };
  t.deepEqual(reader.read({ kind: "chat", messages: [user] }), expected);
  const messages = [
    { role: "system" as const, content: "Answer with JSON." },
    { role: "user" as const, content: "lock the front door" },
    { role: "assistant" as const, content: '{"intent":"lock","door":"front"}' },
    user,
  ];
  t.deepEqual(reader.read({ kind: "chat", messages }), expected);
});

test("the end token ends a generation, and nothing is put in front of a prompt", (t) => {
  t.is(tokenizer.tokens[model.tokens.eos as number], "<|eos|>");
  t.false(model.tokens.shouldPrependBosToken);
});
