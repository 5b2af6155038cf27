// The state of a completion: text, stop sequences, ends, and the law of resuming.
import test from "ava";
import fc from "fast-check";
import { Completion } from "../../../edge-node/engine/completion.ts";
import { CompletionText } from "../../../edge-node/engine/completion-text.ts";

const END = 300;
const vocabulary = {
  pieceOf: (id: number) => Uint8Array.of(id),
  endsGeneration: (id: number) => id === END,
};

/** All text of a completion, and how much of it was told after each id. */
function run(completion: Completion, ids: readonly number[]) {
  let text = "";
  const lengths: number[] = [];
  for (const id of ids) {
    const step = completion.accept(id);
    text += step.text;
    lengths.push(text.length);
    if (step.end !== null) return { text: text + step.end.text, lengths, end: step.end };
  }
  return { text, lengths, end: null };
}

test("half a character is held back until it is whole", (t) => {
  const text = new CompletionText([]);
  const bytes = Buffer.from("a😀b");
  const told = [...bytes].map((byte) => text.push(Uint8Array.of(byte)).text);
  t.deepEqual(told, ["a", "", "", "", "😀", "b"]);
});

test("what may begin a stop sequence is held back, and told when it doesn't", (t) => {
  const text = new CompletionText(["STOP", "TOLL"]);
  const push = (piece: string) => text.push(Buffer.from(piece));
  t.deepEqual(push("so ST"), { text: "so ", stopSequence: null });
  t.deepEqual(push("O"), { text: "", stopSequence: null });
  t.deepEqual(push("LL"), { text: "S", stopSequence: "TOLL" });
  const other = new CompletionText(["STOP"]);
  t.is(other.push(Buffer.from("STO")).text, "");
  t.is(other.push(Buffer.from("RE")).text, "STORE");
  t.is(other.push(Buffer.from("ST")).text, "");
  t.is(other.flush().text, "ST");
});

test("the first stop sequence in the text wins", (t) => {
  const text = new CompletionText(["c", "b"]);
  t.deepEqual(text.push(Buffer.from("abc")), { text: "a", stopSequence: "b" });
});

test("an end token ends without being counted, the last allowed token with length", (t) => {
  const limits = { tokensMax: 3, stop: [] };
  const ended = new Completion(limits, vocabulary, null);
  const { end } = run(ended, [65, END]);
  t.deepEqual(end, { reason: "stop", stopSequence: null, endToken: END, text: "" });
  t.deepEqual(ended.ids, [65]);
  t.is(run(new Completion(limits, vocabulary, null), [65, 66, 67]).end?.reason, "length");
});

test("an unfinished character at the end is told as a replacement character", (t) => {
  const completion = new Completion({ tokensMax: 2, stop: [] }, vocabulary, null);
  const { text, end } = run(completion, [65, 0xf0]);
  t.is(text, "A\uFFFD");
  t.is(end?.text, "\uFFFD");
});

test("resuming anywhere continues the text exactly, whatever bytes and stops", (t) => {
  const byte = fc.oneof(
    fc.integer({ min: 97, max: 99 }),
    fc.constantFrom(...Buffer.from("é😀")),
    fc.integer({ min: 0, max: 255 }),
  );
  const bytes = fc.array(byte, { minLength: 1, maxLength: 24 });
  const stops = fc.array(fc.stringMatching(/^[abc]{1,4}$/), { maxLength: 3 });
  fc.assert(
    fc.property(bytes, stops, fc.nat(23), fc.nat(40), (ids, stop, cutSeed, behind) => {
      const limits = { tokensMax: ids.length, stop };
      const whole = run(new Completion(limits, vocabulary, null), ids);
      const used = whole.lengths.length;
      const cut = cutSeed % used;
      const told = cut === 0 ? 0 : whole.lengths[cut - 1]!;
      // The caller may have less of the text than the ids made.
      const textLength = Math.max(0, told - behind);
      const resume = { tokens: ids.slice(0, cut), textLength };
      const resumed = new Completion(limits, vocabulary, resume);
      if (resumed.resumedEnd !== null) return false;
      const rest = run(resumed, ids.slice(cut));
      return whole.text.slice(0, textLength) + rest.text === whole.text;
    }),
    { seed: 20, numRuns: 2000 },
  );
  t.pass();
});

test("resuming with all ids brings only the end and the text that is missing", (t) => {
  const limits = { tokensMax: 3, stop: [] };
  const resume = { tokens: [65, 66, 67], textLength: 1 };
  const end = new Completion(limits, vocabulary, resume).resumedEnd;
  t.deepEqual(end, { reason: "length", stopSequence: null, endToken: null, text: "BC" });
});

test("text that the caller has beyond its ids is not told again", (t) => {
  const resume = { tokens: [65], textLength: 3 };
  const completion = new Completion({ tokensMax: 9, stop: [] }, vocabulary, resume);
  t.is(run(completion, [66, 67, 68]).text, "D");
});
