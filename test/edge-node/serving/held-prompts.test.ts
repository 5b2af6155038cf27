// Blocks of what an engine holds, from labels, and the least time that follows from them.
import test from "ava";
import { HELD_BLOCKS_MAX, HeldPrompts } from "../../../edge-node/serving/held-prompts.ts";
import { leastTimeMs } from "../../../edge-node/serving/least-time.ts";
import { BLOCK_CHARS, promptBlocks } from "../../../runtime/prefix/prompt-blocks.ts";
import { request } from "./served-script.ts";

const held = (label: string, tokens = 100, version = "v1") => ({ label, tokens, version });

test("blocks of held prompts of that version, each once, in order", (t) => {
  const prompts = new HeldPrompts();
  const a = prompts.add([5, 3]);
  const b = prompts.add([5, 9]);
  const other = prompts.add([77]);
  for (const label of [a, b, other]) prompts.counted(label, 100);
  t.deepEqual(prompts.blocksOf([held(a), held(b), held(other, 100, "v2")], "v1"), [3, 5, 9]);
  t.deepEqual(prompts.blocksOf([held(b)], "v1"), [5, 9]);
  t.deepEqual(prompts.blocksOf([], "v1"), []);
  t.deepEqual(prompts.blocksOf([held("unknown")], "v1"), []);
});

test("of a prompt that was left half-way only the whole blocks that were read", (t) => {
  const prompts = new HeldPrompts();
  const label = prompts.add([1, 2, 3, 4]);
  t.deepEqual(prompts.blocksOf([held(label, 50)], "v1"), [], "not counted yet");
  prompts.counted(label, 100);
  t.deepEqual(prompts.blocksOf([held(label, 60)], "v1"), [1, 2]);
  t.deepEqual(prompts.blocksOf([held(label, 160)], "v1"), [1, 2, 3, 4]);
});

test("at most so many blocks, the newest prompts first", (t) => {
  const prompts = new HeldPrompts();
  const labels = Array.from({ length: 12 }, (_, at) => {
    const label = prompts.add(Array.from({ length: 100 }, (_, k) => at * 1000 + k));
    prompts.counted(label, 1);
    return label;
  });
  const blocks = prompts.blocksOf(
    labels.map((label) => held(label)),
    "v1",
  );
  t.is(blocks.length, HELD_BLOCKS_MAX);
  t.true(blocks.includes(11_000) && !blocks.includes(0));
});

test("what is still held outlives any number of later prompts", (t) => {
  const prompts = new HeldPrompts();
  const kept = prompts.add([42]);
  prompts.counted(kept, 1);
  for (let k = 0; k < 5000; k++) {
    prompts.add([k]);
    if (k % 500 === 0) t.deepEqual(prompts.blocksOf([held(kept)], "v1"), [42]);
  }
});

const rates = { prefillTokensPerSecond: 100, decodeTokensPerSecondPerStream: 10 };
const textOf = (blocks: number) => "x".repeat(blocks * BLOCK_CHARS);

test("the least time is that of the unread part of the prompt and one token", (t) => {
  const asked = request({ prompt: { case: "text", value: textOf(4) } });
  t.is(leastTimeMs(asked, rates, []), (1000 * 1024) / 8 / 100 + 100);
  t.is(leastTimeMs(asked, rates, promptBlocks(asked)), 100);
  t.is(leastTimeMs(asked, rates, promptBlocks(asked).slice(0, 2)), 640 + 100);
  t.is(leastTimeMs(asked, rates, promptBlocks(asked).slice(2)), 1280 + 100, "only a head helps");
  t.is(leastTimeMs(asked, { ...rates, prefillTokensPerSecond: 0 }, []), 0, "nothing is known");
});

test("tokens count as they are, a chat by its contents", (t) => {
  const ids = Array.from({ length: 200 }, (_, at) => at);
  const tokens = request({ prompt: { case: "tokens", value: { ids } } });
  t.is(leastTimeMs(tokens, rates, []), 2100);
  t.is(leastTimeMs(tokens, rates, promptBlocks(tokens)), 80 + 100);
  const messages = [{ role: "user", content: "y".repeat(80) }];
  const chat = request({ prompt: { case: "chat", value: { messages } } });
  t.is(leastTimeMs(chat, rates, []), 100 + 100);
});
