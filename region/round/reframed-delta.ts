// A delta of an earlier round as this round's rule takes it: in the coordinates of this round's
// start. Sums of factors keep their coordinates from round to round; a stack that was truncated has
// other ones each time, and there the old numbers would mean nothing.
import { join } from "node:path";
import { changeFrame } from "../../sync/aggregate/frame-change.ts";
import { widenToLayout } from "../../sync/aggregate/rank-widening.ts";
import { readDelta } from "../../sync/delta/codec/delta-numbers.ts";
import { rankOfLayout } from "../../sync/delta/rank-slice.ts";
import { layoutDifference, layoutOf, normOf, type TensorMap } from "../../sync/delta/tensor-map.ts";
import { writeSafetensors } from "../../sync/formats/safetensors.ts";
import type { TierMember } from "../../sync/strategy/combined-tier.ts";

export interface Frames {
  /** What the delta was made from, and what this round starts from. */
  readonly from: TensorMap;
  readonly to: TensorMap;
  /** For the file; the caller removes it. */
  readonly dir: string;
}

/** To first order the same change of the model. Null where the round is of another shape. */
export async function reframedDelta(
  member: TierMember,
  { from, to, dir }: Frames,
): Promise<TierMember | null> {
  if (layoutDifference(layoutOf(from), layoutOf(to)) !== null) return null;
  const { tensors } = await readDelta(member.path);
  const change = changeFrame(widenToLayout(tensors, layoutOf(from)), from, to);
  const path = join(dir, `${member.edge}.reframed`);
  writeSafetensors(path, { metadata: {}, tensors: change });
  return { ...member, path, rank: rankOfLayout(layoutOf(to)), norm: normOf(change) };
}
