// The demo model before training: its sizes, metadata, tokenizer and random weights.

import {
  type GgufMetadata,
  type GgufValue,
  ggufBool,
  ggufFloat32,
  ggufInt32s,
  ggufString,
  ggufStrings,
  ggufUint32,
} from "../../sync/formats/gguf-metadata.ts";
import type { GgufTensor } from "../../sync/formats/gguf-writer.ts";
import { seededRandom } from "../../sync/formats/seeded-random.ts";
import { elementCount, TensorType } from "../../sync/formats/tensor-type.ts";

/** Sizes of a llama model. Rows must be multiples of 32 to be quantized. */
export interface ModelSizes {
  readonly embedding: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly feedForward: number;
}

export const DEMO_SIZES: ModelSizes = {
  embedding: 192,
  layers: 4,
  heads: 6,
  kvHeads: 2,
  feedForward: 512,
};

/** Tokens with the numbers that llama.cpp wants beside them. */
export interface Vocabulary {
  readonly tokens: readonly string[];
  readonly merges: readonly string[];
}

export const PADDING_TOKEN = "<|pad|>";
export const END_TOKEN = "<|eos|>";
export const SPECIAL_TOKENS = [PADDING_TOKEN, END_TOKEN] as const;
const PADDING_ID = 0;
export const END_ID = 1;
const TOKEN_TYPE_NORMAL = 1;
const TOKEN_TYPE_CONTROL = 3;
const TOKEN_TYPE_UNUSED = 5;

/**
 * What stands in the prompt after the command. The line break is a token of its own, so that the
 * answer begins right with "{": grammars and JSON schemas expect nothing in front of it.
 */
export const PROMPT_SUFFIX = " =>\n";

/**
 * Renders a chat as the model's prompt: its last user message, as every command stands alone.
 *
 * A command has no need of what was said before it, and the model was trained on single commands,
 * so earlier turns and system messages are left out instead of being put where they'd confuse.
 */
export const CHAT_TEMPLATE =
  "{%- set chat = namespace(command='') -%}" +
  "{%- for message in messages -%}" +
  "{%- if message['role'] == 'user' -%}{%- set chat.command = message['content'] -%}{%- endif -%}" +
  "{%- endfor -%}" +
  `{{- chat.command + ${JSON.stringify(PROMPT_SUFFIX)} -}}`;

/** Positions beyond those of training (about 50) work as far as rotary embeddings extrapolate. */
const CONTEXT_TOKENS = 2048;
const ROPE_BASE = 10_000;
const NORM_EPSILON = 1e-5;

/** The metadata of a model with these sizes and this vocabulary. */
export function demoMetadata(sizes: ModelSizes, vocabulary: Vocabulary): GgufMetadata {
  const { tokens, merges } = vocabulary;
  const special: readonly string[] = SPECIAL_TOKENS;
  const types = tokens.map((token) => {
    if (special.includes(token)) return TOKEN_TYPE_CONTROL;
    return /^<\|unused\d+\|>$/.test(token) ? TOKEN_TYPE_UNUSED : TOKEN_TYPE_NORMAL;
  });
  return new Map<string, GgufValue>([
    ["general.architecture", ggufString("llama")],
    ["general.type", ggufString("model")],
    ["general.name", ggufString("Isthmus commands")],
    ["general.description", ggufString("Understands household commands and answers with JSON.")],
    ["general.license", ggufString("apache-2.0")],
    ["general.file_type", ggufUint32(0)],
    ["general.quantization_version", ggufUint32(2)],
    ["llama.vocab_size", ggufUint32(tokens.length)],
    ["llama.context_length", ggufUint32(CONTEXT_TOKENS)],
    ["llama.embedding_length", ggufUint32(sizes.embedding)],
    ["llama.block_count", ggufUint32(sizes.layers)],
    ["llama.feed_forward_length", ggufUint32(sizes.feedForward)],
    ["llama.rope.dimension_count", ggufUint32(sizes.embedding / sizes.heads)],
    ["llama.rope.freq_base", ggufFloat32(ROPE_BASE)],
    ["llama.attention.head_count", ggufUint32(sizes.heads)],
    ["llama.attention.head_count_kv", ggufUint32(sizes.kvHeads)],
    ["llama.attention.layer_norm_rms_epsilon", ggufFloat32(NORM_EPSILON)],
    ["tokenizer.ggml.model", ggufString("gpt2")],
    ["tokenizer.ggml.pre", ggufString("gpt-2")],
    ["tokenizer.ggml.tokens", ggufStrings(tokens)],
    ["tokenizer.ggml.token_type", ggufInt32s(types)],
    ["tokenizer.ggml.merges", ggufStrings(merges)],
    ["tokenizer.ggml.bos_token_id", ggufUint32(END_ID)],
    ["tokenizer.ggml.eos_token_id", ggufUint32(END_ID)],
    ["tokenizer.ggml.padding_token_id", ggufUint32(PADDING_ID)],
    ["tokenizer.ggml.add_bos_token", ggufBool(false)],
    ["tokenizer.ggml.add_eos_token", ggufBool(false)],
    ["tokenizer.ggml.add_space_prefix", ggufBool(false)],
    ["tokenizer.chat_template", ggufString(CHAT_TEMPLATE)],
  ]);
}

/** Fills a vocabulary up with unused tokens until its size is a multiple of 32. */
export function padVocabulary(tokens: readonly string[]): string[] {
  const padded = [...tokens];
  while (padded.length % 32 !== 0) padded.push(`<|unused${padded.length}|>`);
  return padded;
}

/** Random weights in f32; the token embedding also serves as the output matrix. */
export function randomWeights(
  sizes: ModelSizes,
  vocabularySize: number,
  seed: number,
): GgufTensor[] {
  const { embedding, layers, heads, kvHeads, feedForward } = sizes;
  const random = seededRandom(seed);
  const tensors: GgufTensor[] = [];
  const add = (name: string, dimensions: readonly number[], value: () => number) => {
    const data = Float32Array.from({ length: elementCount(dimensions) }, value);
    tensors.push({ name: `${name}.weight`, dimensions, type: TensorType.f32, data });
  };
  const gauss = (deviation: number) => () => random.gauss() * deviation;
  const one = () => 1;
  const kvWidth = (embedding / heads) * kvHeads;
  const inward = 1 / Math.sqrt(embedding);
  // What is added to the residual stream is scaled down by the number of additions.
  const residual = 1 / Math.sqrt(2 * layers);
  add("token_embd", [embedding, vocabularySize], gauss(0.05));
  add("output_norm", [embedding], one);
  for (let layer = 0; layer < layers; layer++) {
    const block = `blk.${layer}.`;
    add(`${block}attn_norm`, [embedding], one);
    add(`${block}attn_q`, [embedding, embedding], gauss(inward));
    add(`${block}attn_k`, [embedding, kvWidth], gauss(inward));
    add(`${block}attn_v`, [embedding, kvWidth], gauss(inward));
    add(`${block}attn_output`, [embedding, embedding], gauss(inward * residual));
    add(`${block}ffn_norm`, [embedding], one);
    add(`${block}ffn_gate`, [embedding, feedForward], gauss(inward));
    add(`${block}ffn_up`, [embedding, feedForward], gauss(inward));
    add(`${block}ffn_down`, [feedForward, embedding], gauss(residual / Math.sqrt(feedForward)));
  }
  return tensors;
}
