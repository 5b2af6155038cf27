// What the region takes off the sum of masked deltas: everybody's own mask, and those halves of
// pairwise masks whose other half never came. Pure.
import { Fault } from "../../proto/fault.ts";
import type { MaskKeys, UnmaskShares } from "../../proto/gen/isthmus/v1/secagg_pb.ts";
import { agreeOn, publicKeyOf } from "./key-agreement.ts";
import type { MaskGraph } from "./mask-graph.ts";
import { maskPurpose, maskSign } from "./mask-keys.ts";
import { addMask } from "./mask-stream.ts";
import { commitmentOf } from "./masking-party.ts";
import { joinSecret } from "./secret-sharing.ts";

export interface Unmasking {
  readonly graph: MaskGraph;
  /** Of everybody who shared its secrets. */
  readonly keys: ReadonlyMap<string, MaskKeys>;
  readonly commitments: ReadonlyMap<string, Uint8Array>;
  /** Whose masked deltas are in the sum, sorted. */
  readonly included: readonly string[];
  /** What those of them who answered have opened. */
  readonly opened: ReadonlyMap<string, UnmaskShares>;
}

/** Edges some of whose shares are still missing, sorted; empty when the masks can be removed. */
export function stillClosed(unmasking: Unmasking): readonly string[] {
  return secretsNeeded(unmasking).filter((edge) => {
    return sharesOf(unmasking, edge).length < unmasking.graph.threshold(edge);
  });
}

/**
 * Takes all masks off a sum of masked words, in place. Requires that nothing is `stillClosed`.
 * Faults: `invalid-argument` for shares that don't give the secrets that were promised.
 */
export function removeMasks(unmasking: Unmasking, sum: Uint32Array): void {
  const { keys, included, graph } = unmasking;
  for (const edge of secretsNeeded(unmasking)) {
    const shares = sharesOf(unmasking, edge).slice(0, graph.threshold(edge));
    const secret = joinSecret(shares);
    assertPromised(unmasking, edge, secret);
    if (included.includes(edge)) {
      addMask(sum, secret, -1);
      continue;
    }
    const own = keys.get(edge)!;
    const neighbours = new Set(graph.neighbours(edge));
    for (const other of included.filter((name) => neighbours.has(name))) {
      const seed = agreeOn(maskPurpose(own, other), secret, keys.get(other)!.maskKey);
      // The other one's half is in the sum: the same mask with its sign.
      addMask(sum, seed, maskSign(other, edge) === 1 ? -1 : 1);
    }
  }
}

/** Everybody who agreed on masks: the included for their own ones, the others for the pairs'. */
function secretsNeeded({ keys, included, graph }: Unmasking): readonly string[] {
  return [...keys.keys()]
    .filter((edge) => {
      // Who dropped out among strangers alone left nothing in the sum.
      return (
        included.includes(edge) || graph.neighbours(edge).some((one) => included.includes(one))
      );
    })
    .sort();
}

function sharesOf({ graph, opened, included }: Unmasking, edge: string) {
  const isIncluded = included.includes(edge);
  return graph.holders(edge).flatMap((holder, i) => {
    const answer = opened.get(holder);
    const list = isIncluded ? answer?.self : answer?.maskKey;
    const share = list?.find(({ of: name }) => name === edge)?.share;
    return share && share.length > 0 ? [{ at: i + 1, bytes: share }] : [];
  });
}

function assertPromised(
  { keys, commitments, included }: Unmasking,
  edge: string,
  secret: Uint8Array,
): void {
  const [found, promised] = included.includes(edge)
    ? [commitmentOf(secret), commitments.get(edge)]
    : [publicKeyOf(secret), keys.get(edge)?.maskKey];
  if (promised && Buffer.from(found).equals(promised)) return;
  throw new Fault("invalid-argument", `the shares of ${edge} don't give its secret`);
}
