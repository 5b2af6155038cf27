// Turns examples into token sequences exactly as the served model will meet them: the engine's own
// tokenizer, and the chat template that the model carries, around the prompt as a user's message.

import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { Fault } from "../../proto/fault.ts";
import { createPromptReader } from "../engine/llama/prompt-reader.ts";
import type { TrainingExample } from "./example-file.ts";
import type { TokenSequence } from "./training-batch.ts";

/** Tokenizes with the vocabulary of one model. */
export interface ExampleTokenizer {
  encode(example: TrainingExample): TokenSequence;
  dispose(): Promise<void>;
}

/**
 * Opens a model's vocabulary, without its weights; prompts beyond the context can't be encoded.
 * Faults: unsupported.
 */
export async function openExampleTokenizer(
  modelPath: string,
  contextTokens: number,
): Promise<ExampleTokenizer> {
  const llama = await getLlama({
    gpu: false,
    build: "never",
    logLevel: LlamaLogLevel.error,
    maxThreads: 1,
  });
  const model = await llama
    .loadModel({ modelPath, vocabOnly: true, gpuLayers: 0 })
    .catch((cause: unknown) => {
      throw new Fault("unsupported", `${modelPath}: the engine can't read its vocabulary`, {
        cause,
      });
    });
  const end = model.tokens.eot ?? model.tokens.eos;
  if (end === null) {
    throw new Fault("unsupported", `${modelPath}: its vocabulary has no token that ends an answer`);
  }
  const reader = createPromptReader(model, contextTokens);
  return {
    encode: ({ prompt, completion }) => {
      const given = reader.read({ kind: "chat", messages: [{ role: "user", content: prompt }] });
      // An answer is plain text: what looks like a special token in it must not become one.
      const answer = model.tokenize(completion, false, "trimLeadingSpace");
      return { tokens: [...given, ...answer, end], supervisedFrom: given.length };
    },
    dispose: async () => {
      await model.dispose();
      await llama.dispose();
    },
  };
}
