// Small llama-architecture models for tests, made on the fly with seeded weights and kept in the
// system's temporary folder. `randomModel` has real attention over random weights: what it says
// depends on everything before. `chainModel` says one text over and over.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, renameSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type GgufValue,
  ggufBool,
  ggufFloat32,
  ggufInt32s,
  ggufString,
  ggufStrings,
  ggufUint32,
} from "../../sync/formats/gguf-metadata.ts";
import { type GgufTensor, writeGguf } from "../../sync/formats/gguf-writer.ts";
import { type SeededRandom, seededRandom } from "../../sync/formats/seeded-random.ts";
import { TensorType } from "../../sync/formats/tensor-type.ts";
import { bosToken, byteVocabulary, chatTemplate, eosToken } from "./byte-vocabulary.ts";

export interface RandomModelOptions {
  readonly seed?: number;
  /** Dimension of the embedding, a multiple of 32. */
  readonly width?: number;
  readonly layers?: number;
  readonly contextLength?: number;
  /** "ascii": says printable characters only. "bytes": any byte, so seldom valid UTF-8. */
  readonly alphabet?: "ascii" | "bytes";
  readonly chat?: boolean;
}

interface Shape {
  readonly width: number;
  readonly layers: number;
  readonly contextLength: number;
  readonly chat: boolean;
}

const HEADS = 4;
const FORMAT = 5;
let drafts = 0;
const folder = join(tmpdir(), "isthmus-test-models");

/** Returns the path of the file. */
export async function randomModel(options: RandomModelOptions = {}): Promise<string> {
  const { seed = 1, width = 64, layers = 2, contextLength = 2048 } = options;
  const { alphabet = "ascii", chat = true } = options;
  const shape = { width, layers, contextLength, chat };
  return make("random", { ...shape, seed, alphabet }, (path) => {
    const random = seededRandom(seed);
    const { tokens } = byteVocabulary();
    const output = gaussians(tokens.length * width, 1, random);
    for (const [id, text] of tokens.entries()) {
      // A row of zeros is never the argmax: these tokens are said only when nothing else may be.
      const silent =
        id >= 256 ? text.startsWith("<|") : alphabet === "ascii" && (id < 32 || id > 126);
      if (silent) output.fill(0, id * width, (id + 1) * width);
    }
    const embedding = gaussians(tokens.length * width, 1, random);
    const blocks = Array.from({ length: layers }, (_, layer) => block(layer, shape, 1, random));
    writeModel(path, shape, embedding, blocks.flat(), output);
  });
}

/**
 * A model that follows any character of `text` with the next one, round and round, or ends after
 * the last with `end: "eos"`. Requires: no byte twice in `text`, prompts that end inside of it.
 */
export async function chainModel(text: string, end: "loop" | "eos" = "loop"): Promise<string> {
  const shape = { width: 256, layers: 1, contextLength: 2048, chat: false };
  return make("chain", { text, end }, (path) => {
    const random = seededRandom(7);
    const { tokens } = byteVocabulary();
    const embedding = gaussians(tokens.length * shape.width, 1, random);
    const output = new Float32Array(tokens.length * shape.width);
    const bytes = [...Buffer.from(text)];
    for (const [at, byte] of bytes.entries()) {
      const last = at === bytes.length - 1;
      const next = last && end === "eos" ? eosToken : bytes[(at + 1) % bytes.length]!;
      const row = embedding.subarray(byte * shape.width, (byte + 1) * shape.width);
      output.set(row, next * shape.width);
    }
    writeModel(path, shape, embedding, block(0, shape, 0, random), output);
  });
}

/** A LoRA adapter for `randomModel`, strong enough to change what it says. */
export async function randomAdapter(
  options: { readonly seed?: number; readonly width?: number; readonly layers?: number } = {},
): Promise<string> {
  const { seed = 1, width = 64, layers = 2 } = options;
  const rank = 4;
  return make("adapter", { seed, width, layers }, (path) => {
    const random = seededRandom(1000 + seed);
    const tensors: GgufTensor[] = [];
    for (let layer = 0; layer < layers; layer++) {
      const name = `blk.${layer}.attn_output.weight`;
      const deviation = 3 / Math.sqrt(width);
      const a = gaussians(width * rank, deviation, random);
      const b = gaussians(width * rank, deviation, random);
      tensors.push(tensor(`${name}.lora_a`, [width, rank], a));
      tensors.push(tensor(`${name}.lora_b`, [rank, width], b));
    }
    const metadata = new Map<string, GgufValue>([
      ["general.architecture", ggufString("llama")],
      ["general.type", ggufString("adapter")],
      ["adapter.type", ggufString("lora")],
      ["adapter.lora.alpha", ggufFloat32(rank)],
    ]);
    writeGguf(path, metadata, tensors);
  });
}

async function make(
  kind: string,
  recipe: Readonly<Record<string, unknown>>,
  write: (path: string) => void,
): Promise<string> {
  const key = JSON.stringify({ format: FORMAT, ...recipe });
  const hash = createHash("sha256").update(key).digest("hex").slice(0, 16);
  const path = join(folder, `${kind}-${hash}.gguf`);
  if (existsSync(path)) return path;
  mkdirSync(folder, { recursive: true });
  // Tests in other processes may be making the same file: it appears whole or not at all.
  const draft = `${path}.${process.pid}.${drafts++}`;
  write(draft);
  renameSync(draft, path);
  return path;
}

function block(layer: number, shape: Shape, strength: number, random: SeededRandom): GgufTensor[] {
  const { width } = shape;
  const hidden = 2 * width;
  const weights = (name: string, rows: number, columns: number, gain: number): GgufTensor => {
    const values = gaussians(rows * columns, gain / Math.sqrt(columns), random);
    return tensor(`blk.${layer}.${name}.weight`, [columns, rows], values);
  };
  return [
    ones(`blk.${layer}.attn_norm.weight`, width),
    // Sharp attention: which token came when matters to what is said next.
    weights("attn_q", width, width, 2),
    weights("attn_k", width, width, 2),
    weights("attn_v", width, width, 1),
    weights("attn_output", width, width, 1.5 * strength),
    ones(`blk.${layer}.ffn_norm.weight`, width),
    weights("ffn_gate", hidden, width, 1),
    weights("ffn_up", hidden, width, 1),
    weights("ffn_down", width, hidden, strength),
  ];
}

function ones(name: string, length: number): GgufTensor {
  return tensor(name, [length], new Float32Array(length).fill(1));
}

function tensor(name: string, dimensions: readonly number[], data: Float32Array): GgufTensor {
  return { name, dimensions, type: TensorType.f32, data };
}

/** Numbers of mean 0 and the given deviation. */
function gaussians(length: number, deviation: number, random: SeededRandom): Float32Array {
  return Float32Array.from({ length }, () => deviation * random.gauss());
}

function writeModel(
  path: string,
  shape: Shape,
  embedding: Float32Array,
  blocks: readonly GgufTensor[],
  output: Float32Array,
): void {
  const { width } = shape;
  const { tokens, types, merges } = byteVocabulary();
  const metadata = new Map<string, GgufValue>([
    ["general.architecture", ggufString("llama")],
    ["general.name", ggufString("tiny test model")],
    ["llama.context_length", ggufUint32(shape.contextLength)],
    ["llama.embedding_length", ggufUint32(width)],
    ["llama.block_count", ggufUint32(shape.layers)],
    ["llama.feed_forward_length", ggufUint32(2 * width)],
    ["llama.attention.head_count", ggufUint32(HEADS)],
    ["llama.attention.head_count_kv", ggufUint32(HEADS)],
    ["llama.attention.layer_norm_rms_epsilon", ggufFloat32(1e-5)],
    ["llama.rope.dimension_count", ggufUint32(width / HEADS)],
    ["llama.vocab_size", ggufUint32(tokens.length)],
    ["tokenizer.ggml.model", ggufString("gpt2")],
    ["tokenizer.ggml.pre", ggufString("gpt-2")],
    ["tokenizer.ggml.tokens", ggufStrings(tokens)],
    ["tokenizer.ggml.token_type", ggufInt32s(types)],
    ["tokenizer.ggml.merges", ggufStrings(merges)],
    ["tokenizer.ggml.bos_token_id", ggufUint32(bosToken)],
    ["tokenizer.ggml.eos_token_id", ggufUint32(eosToken)],
    ["tokenizer.ggml.add_bos_token", ggufBool(true)],
  ]);
  if (shape.chat) metadata.set("tokenizer.chat_template", ggufString(chatTemplate));
  const columns = [width, tokens.length];
  writeGguf(path, metadata, [
    tensor("token_embd.weight", columns, embedding),
    ...blocks,
    ones("output_norm.weight", width),
    tensor("output.weight", columns, output),
  ]);
}
