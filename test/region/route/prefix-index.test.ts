// What a region remembers of the prompt heads that its edges hold.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import fc from "fast-check";
import {
  type GenerateRequest,
  GenerateRequestSchema,
} from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { PrefixIndex } from "../../../region/route/prefix-index.ts";
import { BLOCK_CHARS, promptBlocks } from "../../../runtime/prefix/prompt-blocks.ts";

function textRequest(text: string, model = "m"): GenerateRequest {
  return create(GenerateRequestSchema, { model, prompt: { case: "text", value: text } });
}

test("two prompts share exactly the blocks that are the same from the start", (t) => {
  const block = fc.string({ minLength: BLOCK_CHARS, maxLength: BLOCK_CHARS });
  fc.assert(
    fc.property(fc.array(block, { maxLength: 4 }), fc.string(), fc.string(), (head, a, b) => {
      const shared = head.join("");
      const left = promptBlocks(textRequest(shared + a));
      const right = promptBlocks(textRequest(shared + b));
      const count = Math.floor(shared.length / BLOCK_CHARS);
      t.deepEqual(left.slice(0, count), right.slice(0, count));
      t.is(left.length, Math.floor((shared.length + a.length) / BLOCK_CHARS));
    }),
    { seed: 9, numRuns: 200 },
  );
  const text = "x".repeat(BLOCK_CHARS);
  t.notDeepEqual(promptBlocks(textRequest(text)), promptBlocks(textRequest(text, "other")));
});

test("an edge is credited with the head it was sent, and the last few are remembered", (t) => {
  const index = new PrefixIndex();
  const blocks = promptBlocks(textRequest("y".repeat(4 * BLOCK_CHARS)));
  index.sent(blocks.slice(0, 2), "a");
  index.sent(blocks, "b");
  const tokens = index.cachedTokens(blocks);
  t.is(tokens.get("a"), (2 * BLOCK_CHARS) / 4);
  t.is(tokens.get("b"), BLOCK_CHARS);
  t.is(tokens.get("c"), undefined);
  for (const edge of ["c", "d", "e", "f"]) index.sent(blocks, edge);
  t.false(index.cachedTokens(blocks).has("b"));
});
