// A llama-architecture model of 0.5 B parameters with random weights in q4_0, made on the fly and
// kept in the system's temporary folder: large enough that memory bandwidth, not bookkeeping, is
// the limit. Its shape is Qwen2.5-0.5B's, without biases.
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
import { seededRandom } from "../../sync/formats/seeded-random.ts";
import { TensorType, tensorBytes } from "../../sync/formats/tensor-type.ts";
import { bosToken, byteVocabulary, eosToken } from "../models/byte-vocabulary.ts";

const SHAPE = { width: 896, layers: 24, hidden: 4864, heads: 14, kvHeads: 2, vocab: 151_936 };
const HEAD = SHAPE.width / SHAPE.heads;
const BLOCK_BYTES = 18;
/** 0x1c66 is 0.0043 in half precision: times a nibble of -8 to 7, a deviation near 0.02. */
const SCALE_F16 = 0x1c66;
/** Random bytes are drawn once and repeated, which no kernel can tell from fresh ones. */
const POOL_BLOCKS = 1 << 16;

/** Returns the path of the file, about 280 MB. */
export function largeModel(): string {
  const folder = join(tmpdir(), "isthmus-bench-models");
  const path = join(folder, "random-0.5b-q4_0.gguf");
  if (existsSync(path)) return path;
  mkdirSync(folder, { recursive: true });
  const draft = `${path}.${process.pid}`;
  writeGguf(draft, metadata(), tensors());
  renameSync(draft, path);
  return path;
}

function metadata(): Map<string, GgufValue> {
  const { tokens, types, merges } = byteVocabulary();
  const fillers = Array.from({ length: SHAPE.vocab - tokens.length }, (_, at) => `filler${at}`);
  return new Map<string, GgufValue>([
    ["general.architecture", ggufString("llama")],
    ["general.name", ggufString("random 0.5B")],
    ["llama.context_length", ggufUint32(32_768)],
    ["llama.embedding_length", ggufUint32(SHAPE.width)],
    ["llama.block_count", ggufUint32(SHAPE.layers)],
    ["llama.feed_forward_length", ggufUint32(SHAPE.hidden)],
    ["llama.attention.head_count", ggufUint32(SHAPE.heads)],
    ["llama.attention.head_count_kv", ggufUint32(SHAPE.kvHeads)],
    ["llama.attention.layer_norm_rms_epsilon", ggufFloat32(1e-6)],
    ["llama.rope.dimension_count", ggufUint32(HEAD)],
    ["llama.vocab_size", ggufUint32(SHAPE.vocab)],
    ["tokenizer.ggml.model", ggufString("gpt2")],
    ["tokenizer.ggml.pre", ggufString("gpt-2")],
    ["tokenizer.ggml.tokens", ggufStrings([...tokens, ...fillers])],
    ["tokenizer.ggml.token_type", ggufInt32s([...types, ...fillers.map(() => 1)])],
    ["tokenizer.ggml.merges", ggufStrings([...merges])],
    ["tokenizer.ggml.bos_token_id", ggufUint32(bosToken)],
    ["tokenizer.ggml.eos_token_id", ggufUint32(eosToken)],
    ["tokenizer.ggml.add_bos_token", ggufBool(true)],
  ]);
}

function tensors(): GgufTensor[] {
  const pool = randomBlocks();
  const weights = (name: string, columns: number, rows: number): GgufTensor => {
    const dimensions = [columns, rows];
    const data = Buffer.alloc(tensorBytes(TensorType.q4_0, dimensions), pool);
    return { name: `${name}.weight`, dimensions, type: TensorType.q4_0, data };
  };
  const ones = (name: string): GgufTensor => ({
    name: `${name}.weight`,
    dimensions: [SHAPE.width],
    type: TensorType.f32,
    data: new Float32Array(SHAPE.width).fill(1),
  });
  const { width, hidden, kvHeads, vocab } = SHAPE;
  const all = [weights("token_embd", width, vocab), ones("output_norm")];
  for (let layer = 0; layer < SHAPE.layers; layer += 1) {
    const block = `blk.${layer}`;
    all.push(
      ones(`${block}.attn_norm`),
      weights(`${block}.attn_q`, width, width),
      weights(`${block}.attn_k`, width, kvHeads * HEAD),
      weights(`${block}.attn_v`, width, kvHeads * HEAD),
      weights(`${block}.attn_output`, width, width),
      ones(`${block}.ffn_norm`),
      weights(`${block}.ffn_gate`, width, hidden),
      weights(`${block}.ffn_up`, width, hidden),
      weights(`${block}.ffn_down`, hidden, width),
    );
  }
  return all;
}

function randomBlocks(): Buffer {
  const random = seededRandom(3);
  // A prime count of blocks, so that rows don't repeat each other.
  const pool = Buffer.alloc((POOL_BLOCKS + 1) * BLOCK_BYTES);
  for (let at = 0; at < pool.length; at += 1) pool[at] = random.below(256);
  for (let at = 0; at < pool.length; at += BLOCK_BYTES) pool.writeUInt16LE(SCALE_F16, at);
  return pool;
}
