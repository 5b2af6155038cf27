// Embeds texts with the model: a context of its own, opened at first use.
import type { LlamaEmbeddingContext, LlamaModel } from "node-llama-cpp";
import { Fault } from "../../../proto/fault.ts";
import type { Embeddings } from "../engine.ts";
import { EMBED_TEXTS_MAX } from "../job-limits.ts";

/** Longest text that is embedded, in tokens; the model's own limit may be lower. */
export const EMBED_TOKENS_MAX = 2048;

export interface Embedder {
  /** Faults: invalid-argument, context-length-exceeded, payload-too-large, cancelled. */
  embed(texts: readonly string[], signal: AbortSignal): Promise<Embeddings>;
}

export function createEmbedder(model: LlamaModel, threads: number): Embedder {
  let opened: Promise<LlamaEmbeddingContext> | null = null;
  const contextSize = Math.min(EMBED_TOKENS_MAX, model.trainContextSize);
  function open(): Promise<LlamaEmbeddingContext> {
    // The whole text in one batch: pooling sees only what is decoded together.
    opened ??= model.createEmbeddingContext({ contextSize, batchSize: contextSize, threads });
    return opened;
  }
  function read(text: string): ReturnType<LlamaModel["tokenize"]> {
    const tokens = text.length > contextSize * 128 ? null : model.tokenize(text);
    // Two tokens are left for what the model's tokenizer adds around the text.
    if (tokens === null || tokens.length + 2 >= contextSize) {
      const message = `a text to embed is longer than ${contextSize} tokens`;
      throw new Fault("context-length-exceeded", message, { param: "input" });
    }
    if (tokens.length > 0) return tokens;
    throw new Fault("invalid-argument", "a text to embed is empty", { param: "input" });
  }
  return {
    async embed(texts, signal) {
      if (texts.length > EMBED_TEXTS_MAX) {
        const message = `at most ${EMBED_TEXTS_MAX} texts are embedded at once`;
        throw new Fault("payload-too-large", message, { param: "input" });
      }
      const inputs = texts.map(read);
      const context = await open();
      const vectors: Float32Array[] = [];
      let tokens = 0;
      for (const input of inputs) {
        if (signal.aborted) throw new Fault("cancelled", "nobody waits for the embeddings");
        const embedding = await context.getEmbeddingFor(input);
        vectors.push(unitVector(embedding.vector));
        tokens += input.length;
      }
      return { vectors, tokens };
    },
  };
}

function unitVector(values: readonly number[]): Float32Array {
  const vector = Float32Array.from(values);
  let squares = 0;
  for (const value of vector) squares += value * value;
  const length = Math.sqrt(squares);
  return length === 0 ? vector : vector.map((value) => value / length);
}
