// Who masks with whom. Up to some fifty edges everybody does with everybody (Bonawitz et al.
// 2017); above, each with those nearest on a ring whose order nobody could choose (Bell et al.,
// "SecAgg+", arXiv 2009.09434): work and traffic per edge stay bounded, whatever their number.
import { createHash } from "node:crypto";
import { Fault } from "../../proto/fault.ts";
import type { MaskKeys } from "../../proto/gen/isthmus/v1/secagg_pb.ts";

/** With two, each knows the other's delta from the sum. */
export const MEMBERS_MIN = 3;
/** Even: as many on either side. */
const NEIGHBOURS_MAX = 48;

export class MaskGraph {
  /** Sorted. */
  readonly members: readonly string[];
  readonly #ring: readonly string[];

  /** Faults: `invalid-argument` for too few members or one that comes twice. */
  constructor(members: readonly Pick<MaskKeys, "edge" | "maskKey" | "channelKey">[]) {
    this.members = members.map(({ edge }) => edge).sort();
    if (new Set(this.members).size !== members.length || members.length < MEMBERS_MIN) {
      const message = `${members.length} edges are no group to mask in: ${MEMBERS_MIN} are needed`;
      throw new Fault("invalid-argument", message);
    }
    this.#ring = ringOf(members);
  }

  /** Those with whom an edge agrees on masks, sorted. */
  neighbours(edge: string): readonly string[] {
    const count = this.#ring.length;
    if (count - 1 <= NEIGHBOURS_MAX) return this.members.filter((other) => other !== edge);
    const at = this.#ring.indexOf(edge);
    const found = new Set<string>();
    for (let step = 1; step <= NEIGHBOURS_MAX / 2; step++) {
      found.add(this.#ring[(at + step) % count]!);
      found.add(this.#ring[(at - step + count) % count]!);
    }
    return [...found].sort();
  }

  /** Those who hold shares of an edge's secrets: its neighbours and itself, sorted. */
  holders(edge: string): readonly string[] {
    return [...this.neighbours(edge), edge].sort();
  }

  /**
   * Shares that open a secret: two thirds of the holders. Each holder opens one of an edge's two
   * secrets at most, so that no two groups of this size can open both, unless a third of them lie.
   */
  threshold(edge: string): number {
    return Math.ceil((2 * this.holders(edge).length) / 3);
  }
}

/** In the order of hashes that depend on everybody's keys. */
function ringOf(members: readonly Pick<MaskKeys, "edge" | "maskKey" | "channelKey">[]) {
  const sorted = [...members].sort((a, b) => (a.edge < b.edge ? -1 : 1));
  const all = createHash("sha256");
  for (const { edge, maskKey, channelKey } of sorted) {
    all.update(`${edge}\n`).update(maskKey).update(channelKey);
  }
  const common = all.digest();
  const rank = (edge: string) => {
    return createHash("sha256").update(common).update(edge).digest("hex");
  };
  const ranked = sorted.map(({ edge }) => ({ edge, rank: rank(edge) }));
  return ranked.sort((a, b) => (a.rank < b.rank ? -1 : 1)).map(({ edge }) => edge);
}
