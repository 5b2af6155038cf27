// Prompts share the names of the blocks that they share, from the start.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import fc from "fast-check";
import {
  type GenerateRequest,
  GenerateRequestSchema,
} from "../../../proto/gen/isthmus/v1/inference_pb.ts";
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
