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
import { sha256 } from "../../proto/ids.ts";
import type { ArtifactStore } from "../../sync/artifact/artifact-store.ts";
import { adoptFile } from "../../sync/artifact/file-adoption.ts";
import type { TensorMap } from "../../sync/delta/tensor-map.ts";
import { encodeSafetensors } from "../../sync/formats/safetensors.ts";
import { deltaWeight } from "../../sync/privacy/delta-weight.ts";
import { ruleOfWire } from "../../sync/strategy/wire-rule.ts";
import type { CarriedDelta } from "./carried-deltas.ts";
import type { JobMember, LeftOut } from "./partial-job.ts";
import { runPartialJob } from "./partial-thread.ts";
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

/**
 * Combines the included deltas, but for those of the edges `without`, into an artifact.
 * Requires at least one. Faults: `failed-precondition` when the rule leaves none.
 */
export async function sumPartial(
  state: RoundState,
  sources: PartialSources,
  without: ReadonlySet<string> = new Set(),
): Promise<Partial> {
  const { artifacts, scratchDir, fetchArtifact } = sources;
  const { offer } = state;
  await mkdir(scratchDir, { recursive: true });
  const dir = await mkdtemp(join(scratchDir, "partial-"));
  try {
    const path = join(dir, "partial.safetensors");
    const { members, unfit } = await membersOf(state, sources, without);
    const outcome = await runPartialJob({
      ...{ members, path, dir },
      startPath: offer.adapterState ? await fetchArtifact(offer.adapterState) : null,
      rule: ruleOfWire(offer.rule),
      scale: (offer.params?.alpha ?? 0) / (offer.params?.rank || 1),
    });
    const leftOut = [...unfit, ...outcome.leftOut].sort((a, b) => (a.edge < b.edge ? -1 : 1));
    if (outcome.contributors.length === 0) {
      const why = leftOut.map(({ edge, reason }) => `${edge} ${reason}`).join("; ");
      throw new Fault("failed-precondition", `no delta is left: ${why}`);
    }
    const { sha256: digest, bytes } = await adoptFile(artifacts, path);
    const name = `${offer.campaign}-${offer.round}-partial.safetensors`;
    return create(PartialSchema, {
      artifact: { sha256: digest, bytes: BigInt(bytes), name },
      weight: outcome.weight,
      count: outcome.contributors.length,
      contributors: [...outcome.contributors],
      rank: offer.params?.rank ?? 0,
      alpha: offer.params?.alpha ?? 0,
      kind: outcome.kind,
      leftOut,
    });
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** The deltas for the rule to look at, and those that are kept from it. */
async function membersOf(
  state: RoundState,
  { deltas, carried, counted, fetchArtifact }: PartialSources,
  without: ReadonlySet<string>,
): Promise<{ readonly members: JobMember[]; readonly unfit: LeftOut[] }> {
  const { offer } = state;
  const own = includedSeats(state).map((seat) => ({ name: seat.edge, seat, share: 1, offer }));
  const members: JobMember[] = [];
  const unfit: LeftOut[] = [];
  for (const { name, seat, share, offer: madeFor } of [...own, ...carried]) {
    if (without.has(seat.edge)) continue;
    const { rank, norm, delta } = seat.manifest!;
    const digest = sha256(delta!.sha256);
    const before = counted.get(digest);
    const isOwn = madeFor === offer;
    if (before !== undefined) {
      unfit.push({ edge: name, reason: `the same delta counted in ${before}` });
    } else if (!isOwn && !deltas.has(digest)) {
      unfit.push({ edge: name, reason: "came in an earlier round and is kept no longer" });
    } else {
      const weight = share * deltaWeight(offer, seat.manifest!);
      const member = { edge: name, weight, rank, norm, path: deltas.path(digest) };
      if (isOwn) members.push(member);
      else members.push({ ...member, carriedFrom: await startOf(madeFor, fetchArtifact) });
    }
  }
  return { members, unfit };
}

async function startOf(
  { adapterState }: RoundOffer,
  fetchArtifact: PartialSources["fetchArtifact"],
): Promise<string | null> {
  return adapterState === undefined ? null : await fetchArtifact(adapterState);
}

/** Stores tensors as an artifact. */
export async function storeTensors(tensors: TensorMap, { artifacts }: PartialSources) {
  const bytes = encodeSafetensors({ metadata: {}, tensors });
  const digest = sha256(createHash("sha256").update(bytes).digest("hex"));
  await artifacts.put(digest, bytes.length, chunksOf(bytes));
  return { sha256: digest, bytes: BigInt(bytes.length) };
}

async function* chunksOf(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}
