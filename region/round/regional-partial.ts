// A region's partial: what its edges' deltas come to under the round's rule, as an artifact. The
// same deltas give the same bytes, so making it again after a crash changes nothing.
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { Fault } from "../../proto/fault.ts";
import type { Artifact } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import {
  type Partial$ as Partial,
  PartialSchema,
  type RoundOffer,
} from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { type Sha256, sha256 } from "../../proto/ids.ts";
import { sumDeltas } from "../../sync/aggregate/delta-sum.ts";
import { stackDeltas } from "../../sync/aggregate/lora-stack.ts";
import { widenToLayout } from "../../sync/aggregate/rank-widening.ts";
import { roundSum, sumWeighted } from "../../sync/aggregate/weighted-sum.ts";
import type { ArtifactStore } from "../../sync/artifact/artifact-store.ts";
import { adoptFile } from "../../sync/artifact/file-adoption.ts";
import { readDelta } from "../../sync/delta/codec/delta-numbers.ts";
import { rankOfLayout } from "../../sync/delta/rank-slice.ts";
import { layoutOf, type TensorLayout, type TensorMap } from "../../sync/delta/tensor-map.ts";
import { encodeSafetensors, readSafetensors } from "../../sync/formats/safetensors.ts";
import { deltaWeight } from "../../sync/privacy/delta-weight.ts";
import { combineTier, type TierMember, type TierPart } from "../../sync/strategy/combined-tier.ts";
import { ruleOfWire } from "../../sync/strategy/wire-rule.ts";
import type { CarriedDelta } from "./carried-deltas.ts";
import { reframedDelta } from "./reframed-delta.ts";
import { includedSeats, type RoundState } from "./round-state.ts";

export interface PartialSources {
  /** Where the deltas lie. */
  readonly deltas: ArtifactStore;
  /** Where the partial goes; what the region serves at /v1/artifacts. */
  readonly artifacts: ArtifactStore;
  /** For the file being written, on the disk of `artifacts`. */
  readonly scratchDir: string;
  /** Makes sure that an artifact is here; resolves with its path. */
  readonly fetchArtifact: (artifact: Artifact) => Promise<string>;
  /** Digests of deltas that counted in earlier rounds, each with where. */
  readonly counted: ReadonlyMap<string, string>;
  /** Late deltas of earlier rounds that count in this one. */
  readonly carried: readonly CarriedDelta[];
}

interface FramedSources extends PartialSources {
  /** For carried deltas in this round's coordinates, until they are summed. */
  readonly framesDir: string;
}

/** What a delta is before a rule has looked at it. */
interface Sifted extends TierMember {
  readonly digest: Sha256;
  /** The round that it was made in. */
  readonly offer: RoundOffer;
}

interface LeftOut {
  readonly edge: string;
  readonly reason: string;
}

/**
 * Combines the included deltas, but for those of the edges `without`, into an artifact.
 * Requires at least one. Faults: `failed-precondition` when the rule leaves none.
 */
export async function sumPartial(
  state: RoundState,
  sources: PartialSources,
  without: ReadonlySet<string> = new Set(),
): Promise<Partial> {
  await mkdir(sources.scratchDir, { recursive: true });
  const framesDir = await mkdtemp(join(sources.scratchDir, "frames-"));
  try {
    return await sumMembers(state, { ...sources, framesDir }, without);
  } finally {
    await rm(framesDir, { recursive: true, force: true });
  }
}

async function sumMembers(
  state: RoundState,
  sources: FramedSources,
  without: ReadonlySet<string>,
): Promise<Partial> {
  const { offer } = state;
  const start = offer.adapterState ? await tensorsOf(offer.adapterState, sources) : null;
  const { combine, lora } = ruleOfWire(offer.rule);
  const members = membersOf(state, sources, without);
  const { fit, unfit } = await sift(members, { lora, start, offer }, sources);
  const { parts, leftOut } = await combineTier(fit, combine, start);
  const all = [...unfit, ...leftOut].sort((a, b) => (a.edge < b.edge ? -1 : 1));
  if (parts.length === 0) {
    const why = all.map(({ edge, reason }) => `${edge} ${reason}`).join("; ");
    throw new Fault("failed-precondition", `no delta is left: ${why}`);
  }
  const isStack = lora === "stack" && start !== null;
  const scale = (offer.params?.alpha ?? 0) / (offer.params?.rank || 1);
  const name = `${offer.campaign}-${offer.round}-partial.safetensors`;
  const artifact = isStack
    ? await storeTensors(await stackDeltas(start, scale, parts), sources)
    : await storeSum(parts, start && layoutOf(start), sources);
  return create(PartialSchema, {
    artifact: { ...artifact, name },
    weight: parts.reduce((sum, { weight }) => sum + weight, 0),
    count: parts.flatMap(({ edges }) => edges).length,
    contributors: parts.flatMap(({ edges }) => [...edges]).sort(),
    rank: offer.params?.rank ?? 0,
    alpha: offer.params?.alpha ?? 0,
    kind: isStack ? "stack" : "sum",
    leftOut: all,
  });
}

function membersOf(
  state: RoundState,
  { deltas, carried }: PartialSources,
  without: ReadonlySet<string>,
): Sifted[] {
  const { offer } = state;
  const own = includedSeats(state).map((seat) => ({ name: seat.edge, seat, share: 1, offer }));
  return [...own, ...carried]
    .filter(({ seat }) => !without.has(seat.edge))
    .map(({ name, seat: { manifest }, share, offer: madeFor }) => {
      const { rank, norm, delta } = manifest!;
      const weight = share * deltaWeight(offer, manifest!);
      const digest = sha256(delta!.sha256);
      const path = deltas.path(digest);
      return { edge: name, weight, rank, norm, digest, path, offer: madeFor };
    });
}

/** Keeps out what no rule has to look at: what counted before, and what was not to change. */
async function sift(
  members: readonly Sifted[],
  round: { readonly lora: string; readonly start: TensorMap | null; readonly offer: RoundOffer },
  sources: FramedSources,
): Promise<{ readonly fit: TierMember[]; readonly unfit: LeftOut[] }> {
  const { lora, start, offer } = round;
  const fit: TierMember[] = [];
  const unfit: LeftOut[] = [];
  for (const member of members) {
    const before = sources.counted.get(member.digest);
    const isOwn = member.offer === offer;
    if (before !== undefined) {
      unfit.push({ edge: member.edge, reason: `the same delta counted in ${before}` });
    } else if (!isOwn && !sources.deltas.has(member.digest)) {
      unfit.push({ edge: member.edge, reason: "came in an earlier round and is kept no longer" });
    } else if (!isOwn && lora === "stack" && start !== null) {
      const framed = await framedMember(member, start, sources);
      if (framed !== null) fit.push(framed);
      else unfit.push({ edge: member.edge, reason: "made for an adapter of another shape" });
    } else if (lora === "freeze-a" && (await movesA(member.path))) {
      unfit.push({ edge: member.edge, reason: "changes A, which is frozen in this round" });
    } else {
      fit.push(member);
    }
  }
  return { fit, unfit };
}

async function framedMember(member: Sifted, start: TensorMap, sources: FramedSources) {
  const { adapterState } = member.offer;
  if (adapterState === undefined) return null;
  const from = await tensorsOf(adapterState, sources);
  return await reframedDelta(member, { from, to: start, dir: sources.framesDir });
}

async function movesA(path: string): Promise<boolean> {
  const { tensors } = await readDelta(path);
  return [...tensors].some(([name, { data }]) => {
    return name.endsWith(".lora_a") && data.some((value) => value !== 0);
  });
}

/**
 * Σ weight · factor · Δ. Deltas that are files of one rank are summed file by file; what a lower
 * rank left alone has changed by 0.
 */
async function storeSum(
  parts: readonly TierPart[],
  layout: TensorLayout | null,
  sources: PartialSources,
) {
  const files = parts.flatMap(({ path, ...part }) => (path === null ? [] : [{ ...part, path }]));
  const ranks = new Set(parts.map(({ rank }) => rank));
  const isWhole = ranks.size === 1 && (!layout || ranks.has(rankOfLayout(layout)));
  if (files.length === parts.length && isWhole) return await storeFileSum(files, sources);
  const sum = await sumWeighted(
    parts.map(({ name, weight, factor, load }) => ({
      name,
      weight: weight * factor,
      load: async () => (layout ? widenToLayout(await load(), layout) : await load()),
    })),
  );
  return await storeTensors(roundSum(sum), sources);
}

async function storeFileSum(
  files: Parameters<typeof sumDeltas>[0],
  { scratchDir, artifacts }: PartialSources,
) {
  await mkdir(scratchDir, { recursive: true });
  const what = createHash("sha256").update(JSON.stringify(files)).digest("hex");
  const path = join(scratchDir, `${what}.sum`);
  try {
    await sumDeltas(files, path);
    const { sha256: digest, bytes } = await adoptFile(artifacts, path);
    return { sha256: digest, bytes: BigInt(bytes) };
  } finally {
    await rm(path, { force: true });
  }
}

/** Stores tensors as an artifact. */
export async function storeTensors(tensors: TensorMap, { artifacts }: PartialSources) {
  const bytes = encodeSafetensors({ metadata: {}, tensors });
  const digest = sha256(createHash("sha256").update(bytes).digest("hex"));
  await artifacts.put(digest, bytes.length, chunksOf(bytes));
  return { sha256: digest, bytes: BigInt(bytes.length) };
}

async function tensorsOf(artifact: Artifact, sources: PartialSources): Promise<TensorMap> {
  return readSafetensors(await sources.fetchArtifact(artifact)).tensors;
}

async function* chunksOf(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}
