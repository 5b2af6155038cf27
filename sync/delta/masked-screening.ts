// Screens what can be screened of a masked delta: that it is whole. What is under the mask nobody
// sees, which is why no rule that looks at single deltas goes with secure aggregation.
import type { DeltaManifest } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import type { Objection } from "./screening.ts";
import type { TensorLayout } from "./tensor-map.ts";

const WORD_BYTES = 4;

/** Null when nothing is wrong. */
export function screenMasked(
  arrived: { readonly sha256: string; readonly bytes: number },
  { delta }: DeltaManifest,
  layout: TensorLayout,
): Objection | null {
  if (arrived.sha256 !== delta?.sha256) {
    return { reason: "hash", detail: "the bytes hash to something else", attributable: false };
  }
  const counts = [...layout.values()].map((shape) => shape.reduce((a, b) => a * b, 1));
  const wanted = WORD_BYTES * counts.reduce((a, b) => a + b, 0);
  if (arrived.bytes === wanted) return null;
  const detail = `${arrived.bytes} masked bytes, not ${wanted}`;
  return { reason: "schema", detail, attributable: true };
}
