// A tier of edges whose deltas are files: honest ones go on where the start points, each in a
// direction of its own, as edges with different data do.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import { encodeDelta } from "../../../sync/delta/codec/delta-encoder.ts";
import { type CodecFormat, plainFormat } from "../../../sync/delta/codec/delta-format.ts";
import { normOf, scaleTensors, type TensorMap } from "../../../sync/delta/tensor-map.ts";
import { seededRandom } from "../../../sync/formats/seeded-random.ts";
import type { TierMember } from "../../../sync/strategy/combined-tier.ts";

export const RANK = 4;
const [OUT, INTO] = [96, 128];

export function tensorsOf(seed: number, size = 1, rank = RANK): TensorMap {
  const random = seededRandom(seed);
  const numbers = (count: number) =>
    Float32Array.from({ length: count }, () => size * random.gauss());
  return new Map(
    ["blk.0.attn_q", "blk.1.attn_q"].flatMap((weight) => [
      [`${weight}.weight.lora_a`, { shape: [rank, INTO], data: numbers(rank * INTO) }],
      [`${weight}.weight.lora_b`, { shape: [OUT, rank], data: numbers(OUT * rank) }],
    ]),
  );
}

export const start = tensorsOf(1);

/** A tenth of the start, and as much again in a direction of its own. */
export function honest(seed: number): TensorMap {
  const own = tensorsOf(seed, 0.2);
  return new Map(
    [...start].map(([name, { shape, data }]) => {
      const other = own.get(name)!.data;
      return [name, { shape, data: data.map((value, i) => 0.05 * value + other[i]!) }];
    }),
  );
}

export const flipped = (tensors: TensorMap) => scaleTensors(tensors, -1);
export const thousandfold = (tensors: TensorMap) => scaleTensors(tensors, 1000);

export class TierFolder {
  readonly #dir: string;

  constructor(t: ExecutionContext) {
    this.#dir = mkdtempSync(join(tmpdir(), "isthmus-tier-"));
    t.teardown(() => rmSync(this.#dir, { recursive: true, force: true }));
  }

  member(edge: string, tensors: TensorMap, weight = 10, format: CodecFormat = plainFormat) {
    const path = join(this.#dir, edge);
    writeFileSync(path, encodeDelta(tensors, format));
    const rank = tensors.get("blk.0.attn_q.weight.lora_a")!.shape[0]!;
    return { edge, weight, rank, norm: normOf(tensors), path } satisfies TierMember;
  }

  /** Honest edges, named e-0, e-1 …; those in `lies` send what is made of their delta. */
  tier(count: number, lies: Record<number, (tensors: TensorMap) => TensorMap> = {}) {
    return Array.from({ length: count }, (_, i) => {
      const delta = honest(100 + i);
      return this.member(`e-${i}`, lies[i]?.(delta) ?? delta);
    });
  }
}
