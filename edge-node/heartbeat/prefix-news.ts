// When to tell which prompt heads are held here: when they have changed, though not in every
// heartbeat of a burst, and now and then, since heartbeats get lost.
import { create } from "@bufbuild/protobuf";
import { type PrefixDigest, PrefixDigestSchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";

/** A region that missed a digest, or is new, routes by its own guess for so long. */
export const PREFIX_REPEAT_MS = 30_000;
export const PREFIX_GAP_MS = 250;

interface Told {
  readonly blocks: readonly number[];
  readonly atMs: number;
}

export class PrefixNews {
  readonly #told = new Map<string, Told>();

  /** The digest to tell now, or undefined where what was told before will do. */
  of(model: string, blocks: readonly number[], nowMs: number): PrefixDigest | undefined {
    const told = this.#told.get(model);
    if (told !== undefined) {
      const ageMs = nowMs - told.atMs;
      const isNews = ageMs >= PREFIX_GAP_MS && !isSame(told.blocks, blocks);
      if (!isNews && ageMs < PREFIX_REPEAT_MS) return undefined;
    }
    this.#told.set(model, { blocks, atMs: nowMs });
    return create(PrefixDigestSchema, { blocks: [...blocks] });
  }

  /** Keeps nothing of models that are gone. */
  keepOnly(models: ReadonlySet<string>): void {
    for (const model of [...this.#told.keys()]) if (!models.has(model)) this.#told.delete(model);
  }
}

function isSame(left: readonly number[], right: readonly number[]): boolean {
  return left.length === right.length && left.every((block, at) => block === right[at]);
}
