// Decides whether a delta may be summed. A pure pipeline: each check has its own reason, the first
// that objects names it. The manifest is screened before any byte is taken, the bytes at the end.
import { Fault } from "../../proto/fault.ts";
import type { DeltaFormat, DeltaManifest } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { sha256Pattern } from "../../proto/ids.ts";
import { faultOfChunks } from "./chunks.ts";
import { type CodecFormat, formatFromWire, isSameFormat, topCount } from "./codec/delta-format.ts";
import type { DeltaContents } from "./codec/delta-numbers.ts";
import { isManifestSigned } from "./delta-manifest.ts";
import { layoutOfRank, modulesOfLayout } from "./rank-slice.ts";
import { layoutDifference, type TensorLayout } from "./tensor-map.ts";

/** Why a delta was kept out. */
export const screeningReasons = [
  "signature",
  "key",
  "staleness",
  "base",
  "schema",
  "hash",
  "finite",
  "norm",
] as const;
export type ScreeningReason = (typeof screeningReasons)[number];

/** Weight that one edge may claim; a larger count is taken for an attack or a bug. */
export const EXAMPLES_MAX = 10_000_000;
export const DELTA_BYTES_MAX = 2 ** 30;
/** Relative difference between the norm stated and the norm found that rounding can explain. */
const NORM_TOLERANCE = 1e-6;
/** Relative difference of the scale alpha / rank that rounding can explain. */
const SCALE_TOLERANCE = 1e-6;

/** What this round wants from this edge. */
export interface DeltaExpectation {
  readonly campaign: string;
  readonly round: number;
  readonly region: string;
  readonly edge: string;
  readonly model: string;
  readonly baseSha256: string;
  /** Empty in the first round. */
  readonly startSha256: string;
  /** Largest rank; an edge of a lower one trains the first components, at the same scale. */
  readonly rank: number;
  readonly alpha: number;
  readonly format: CodecFormat;
  /** Whether each edge adds noise of its own, and whether deltas are masked. */
  readonly noised: boolean;
  readonly masked: boolean;
  /** L2 norm; 0 means no bound. */
  readonly normMax: number;
  /** Pinned for this edge; null when it was never seen before, and then the manifest's is it. */
  readonly publicKey: Uint8Array | null;
  /** Of the largest rank. */
  readonly layout: TensorLayout;
}

/** What arrived. `contents` is null when the bytes aren't a delta file at all. */
export interface ArrivedDelta {
  readonly sha256: string;
  readonly bytes: number;
  readonly contents: DeltaContents | null;
}

export interface Objection {
  readonly reason: ScreeningReason;
  readonly detail: string;
  /**
   * Whether the edge itself is to blame: its pinned key signed this for this very round. Others
   * could have sent the rest in its name, so that must not cost the edge its place.
   */
  readonly attributable: boolean;
}

type ManifestCheck = (manifest: DeltaManifest, expected: DeltaExpectation) => string | null;
type DeltaCheck = (
  arrived: ArrivedDelta,
  manifest: DeltaManifest,
  expected: DeltaExpectation,
) => string | null;

const attributableReasons: readonly ScreeningReason[] = ["base", "schema", "finite", "norm"];

const manifestChecks: readonly (readonly [ScreeningReason, ManifestCheck])[] = [
  ["signature", checkSignature],
  ["key", checkKey],
  ["staleness", checkStaleness],
  ["base", checkBase],
  ["schema", checkStatement],
  ["schema", checkFormat],
];

const deltaChecks: readonly (readonly [ScreeningReason, DeltaCheck])[] = [
  ["hash", checkHash],
  ["schema", checkLayout],
  ["finite", checkFinite],
  ["norm", checkNorm],
];

/** Screens what an edge says; null when nothing is wrong. */
export function screenManifest(
  manifest: DeltaManifest,
  expected: DeltaExpectation,
): Objection | null {
  for (const [reason, check] of manifestChecks) {
    const detail = check(manifest, expected);
    if (detail) return objection(reason, detail);
  }
  return null;
}

/** Screens what an edge sent against what it said. Requires a manifest that was screened. */
export function screenDelta(
  arrived: ArrivedDelta,
  manifest: DeltaManifest,
  expected: DeltaExpectation,
): Objection | null {
  for (const [reason, check] of deltaChecks) {
    const detail = check(arrived, manifest, expected);
    if (detail) return objection(reason, detail);
  }
  return null;
}

function objection(reason: ScreeningReason, detail: string): Objection {
  return { reason, detail, attributable: attributableReasons.includes(reason) };
}

function checkSignature(manifest: DeltaManifest): string | null {
  return isManifestSigned(manifest) ? null : "the manifest's signature doesn't verify";
}

function checkKey(manifest: DeltaManifest, { publicKey }: DeltaExpectation): string | null {
  if (publicKey === null || Buffer.from(publicKey).equals(manifest.publicKey)) return null;
  return "signed with another key than the one pinned for this edge";
}

function checkStaleness(manifest: DeltaManifest, expected: DeltaExpectation): string | null {
  const said = `${manifest.campaign}/${manifest.round}/${manifest.region}/${manifest.edge}`;
  const wanted = `${expected.campaign}/${expected.round}/${expected.region}/${expected.edge}`;
  if (said !== wanted) return `made for ${said.slice(0, 200)}, not for ${wanted}`;
  if (manifest.startSha256 !== expected.startSha256) {
    return "trained from another adapter state than this round's";
  }
  return null;
}

function checkBase(manifest: DeltaManifest, expected: DeltaExpectation): string | null {
  if (manifest.model !== expected.model) return "trained for another model";
  return manifest.baseSha256 === expected.baseSha256 ? null : "trained on another base";
}

function checkStatement(manifest: DeltaManifest, expected: DeltaExpectation): string | null {
  const { delta, examples, norm, rank } = manifest;
  if (rank < 1 || rank > expected.rank) return `rank ${rank}, not ${expected.rank} or lower`;
  const alpha = (expected.alpha * rank) / expected.rank;
  if (!(Math.abs(manifest.alpha - alpha) <= SCALE_TOLERANCE * alpha)) {
    return `alpha ${manifest.alpha}, not ${alpha}`;
  }
  if (examples < 1 || examples > EXAMPLES_MAX) return `${examples} examples`;
  if (!(norm >= 0 && Number.isFinite(norm))) return `a norm of ${norm}`;
  if (!delta || !sha256Pattern.test(delta.sha256)) return "no SHA-256 of the delta";
  if (delta.bytes < 1n || delta.bytes > BigInt(DELTA_BYTES_MAX)) {
    return `${delta.bytes} bytes, more than ${DELTA_BYTES_MAX} or none`;
  }
  return null;
}

function checkHash(arrived: ArrivedDelta, { delta }: DeltaManifest): string | null {
  if (BigInt(arrived.bytes) !== delta?.bytes) return `${arrived.bytes} bytes arrived`;
  return arrived.sha256 === delta.sha256 ? null : "the bytes hash to something else";
}

/** How the bytes are cut and written, and of which modules they are. */
function checkFormat(manifest: DeltaManifest, expected: DeltaExpectation): string | null {
  const { format, layout, noised, masked } = expected;
  const { format: stated, targets } = manifest;
  if (manifest.noised !== noised) return `${noised ? "without" : "with"} noise of the edge's own`;
  if (manifest.masked !== masked) return masked ? "not masked" : "masked";
  if (!stated || !isFormat(stated, format)) {
    return `the numbers aren't written as ${format.codec}, as the round asks for`;
  }
  const modules = modulesOfLayout(layout);
  if (modules.length !== targets.length || modules.some((module, i) => module !== targets[i])) {
    return `trained ${targets.join(", ").slice(0, 200)}, not ${modules.join(", ")}`;
  }
  return faultOfChunks(manifest);
}

/** A format that makes no sense is none that a round asks for. */
function isFormat(stated: DeltaFormat, wanted: CodecFormat): boolean {
  try {
    return isSameFormat(formatFromWire(stated), wanted);
  } catch (thrown) {
    if (thrown instanceof Fault) return false;
    throw thrown;
  }
}

function checkLayout(
  { contents }: ArrivedDelta,
  { rank }: DeltaManifest,
  { layout, format }: DeltaExpectation,
): string | null {
  if (!contents) return "not a safetensors file of a delta";
  if (contents.codec !== format.codec) return `the numbers are ${contents.codec}`;
  const difference = layoutDifference(layoutOfRank(layout, rank), contents.layout);
  return difference ?? (format.codec === "top-k" ? sentDifference(contents, format) : null);
}

/** Top-k must send neither more nor less than its share. */
function sentDifference({ layout, sent }: DeltaContents, { topShare }: CodecFormat) {
  for (const [name, shape] of layout) {
    const wanted = topCount(
      shape.reduce((product, size) => product * size, 1),
      topShare,
    );
    if (sent.get(name) !== wanted) return `tensor ${name} sends ${sent.get(name)}, not ${wanted}`;
  }
  return null;
}

function checkFinite({ contents }: ArrivedDelta): string | null {
  const name = contents?.notFinite;
  return name ? `tensor ${name} holds a number that isn't finite` : null;
}

function checkNorm(
  { contents }: ArrivedDelta,
  manifest: DeltaManifest,
  { normMax }: DeltaExpectation,
): string | null {
  const { norm } = contents!;
  if (Math.abs(norm - manifest.norm) > NORM_TOLERANCE * Math.max(norm, manifest.norm)) {
    return `the norm is ${norm}, the manifest says ${manifest.norm}`;
  }
  return normMax > 0 && norm > normMax ? `the norm ${norm} is beyond ${normMax}` : null;
}
