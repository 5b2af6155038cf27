// The work behind a region's partial: from delta files to one file, by the round's rule. Nothing
// but files goes in and comes out, so that a thread can do it.

import { sumDeltas } from "../../sync/aggregate/delta-sum.ts";
import { stackDeltas } from "../../sync/aggregate/lora-stack.ts";
import { widenToLayout } from "../../sync/aggregate/rank-widening.ts";
import { roundSum, sumWeighted } from "../../sync/aggregate/weighted-sum.ts";
import { readDelta } from "../../sync/delta/codec/delta-numbers.ts";
import { rankOfLayout } from "../../sync/delta/rank-slice.ts";
import { layoutOf, type TensorLayout, type TensorMap } from "../../sync/delta/tensor-map.ts";
import { readSafetensors, writeSafetensors } from "../../sync/formats/safetensors.ts";
import { combineTier, type TierMember, type TierPart } from "../../sync/strategy/combined-tier.ts";
import type { RoundRule } from "../../sync/strategy/wire-rule.ts";
import { reframedDelta } from "./reframed-delta.ts";

export interface JobMember extends TierMember {
  /** Of a delta of an earlier round, what that one started from; null for nothing. */
  readonly carriedFrom?: string | null;
}

export interface PartialJob {
  readonly members: readonly JobMember[];
  /** What the round's edges trained from; null for nothing. */
  readonly startPath: string | null;
  readonly rule: RoundRule;
  /** alpha / rank of the round. */
  readonly scale: number;
  /** Where the partial goes. */
  readonly path: string;
  /** Folder for what is needed in between; the caller removes it. */
  readonly dir: string;
}

export interface LeftOut {
  readonly edge: string;
  readonly reason: string;
}

export interface PartialOutcome {
  /** Sorted; with none, there is no file. */
  readonly contributors: readonly string[];
  readonly weight: number;
  readonly kind: "sum" | "stack";
  readonly leftOut: readonly LeftOut[];
}

/** The same job gives the same bytes. Faults: `invalid-argument` for what doesn't fit together. */
export async function doPartialJob(job: PartialJob): Promise<PartialOutcome> {
  const { startPath, rule, scale, path } = job;
  const start = startPath === null ? null : readSafetensors(startPath).tensors;
  const { fit, unfit } = await sift(job, start);
  const { parts, leftOut } = await combineTier(fit, rule.combine, start);
  const isStack = rule.lora === "stack" && start !== null;
  if (parts.length > 0) {
    if (isStack) writeTensors(path, await stackDeltas(start, scale, parts));
    else await writeSum(parts, start && layoutOf(start), path);
  }
  return {
    contributors: parts.flatMap(({ edges }) => [...edges]).sort(),
    weight: parts.reduce((sum, { weight }) => sum + weight, 0),
    kind: isStack ? "stack" : "sum",
    leftOut: [...unfit, ...leftOut],
  };
}

/** Keeps out what no rule has to look at. */
async function sift(
  { members, rule: { lora }, dir }: PartialJob,
  start: TensorMap | null,
): Promise<{ readonly fit: TierMember[]; readonly unfit: LeftOut[] }> {
  const fit: TierMember[] = [];
  const unfit: LeftOut[] = [];
  for (const { carriedFrom, ...member } of members) {
    const isFramed = carriedFrom !== undefined && lora === "stack" && start !== null;
    if (isFramed) {
      const framed = await framedMember(member, carriedFrom, start, dir);
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

async function framedMember(
  member: TierMember,
  fromPath: string | null,
  to: TensorMap,
  dir: string,
): Promise<TierMember | null> {
  if (fromPath === null) return null;
  return await reframedDelta(member, { from: readSafetensors(fromPath).tensors, to, dir });
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
async function writeSum(
  parts: readonly TierPart[],
  layout: TensorLayout | null,
  path: string,
): Promise<void> {
  const files = parts.flatMap(({ path: from, ...part }) => {
    return from === null ? [] : [{ ...part, path: from }];
  });
  const ranks = new Set(parts.map(({ rank }) => rank));
  const isWhole = ranks.size === 1 && (!layout || ranks.has(rankOfLayout(layout)));
  if (files.length === parts.length && isWhole) {
    await sumDeltas(files, path);
    return;
  }
  const sum = await sumWeighted(
    parts.map(({ name, weight, factor, load }) => ({
      name,
      weight: weight * factor,
      load: async () => (layout ? widenToLayout(await load(), layout) : await load()),
    })),
  );
  writeTensors(path, roundSum(sum));
}

function writeTensors(path: string, tensors: TensorMap): void {
  writeSafetensors(path, { metadata: {}, tensors });
}
