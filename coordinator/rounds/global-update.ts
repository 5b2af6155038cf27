// From the regions' partials to the next global adapter: the mean of the edges' updates, by sums or
// by stacks, then what the server's optimizer makes of it. Nothing here is kept in memory: start,
// partials and the optimizer's memory are files, and the same files give the same bytes, so a merge
// that a crash cut off is simply done again.
import { readFileSync } from "node:fs";
import { Fault } from "../../proto/fault.ts";
import { mergePartials, type RegionPartial } from "../../sync/aggregate/merge-partials.ts";
import { mergeStacks } from "../../sync/aggregate/merge-stacks.ts";
import { type TensorMap, tensorSum } from "../../sync/delta/tensor-map.ts";
import type { SafeTensor } from "../../sync/formats/safetensors.ts";
import {
  type ServerPlan,
  type ServerState,
  serverStep,
  type Vectors,
} from "../../sync/strategy/server-optimizer.ts";
import { decodeServerState } from "../../sync/strategy/server-state.ts";
import { isNoisedCentrally, noisedMean } from "../privacy/noised-mean.ts";
import type { RoundPrivacy } from "../privacy/round-privacy.ts";
import type { CampaignState, RoundState } from "./campaign-state.ts";
import { rulesOf } from "./plan/combination.ts";
import { serverOf } from "./plan/strategy-plan.ts";

/** How a partial was made: sums of changes, or factors side by side. */
export type PartialKind = "sum" | "stack";

export type KindedPartial = RegionPartial & { readonly kind: PartialKind };

export interface GlobalUpdateInput {
  readonly campaign: CampaignState;
  readonly round: RoundState;
  /** What the edges trained from; null when there was nothing. */
  readonly start: TensorMap | null;
  readonly partials: readonly KindedPartial[];
  /** File of the optimizer's memory; null before its first round. */
  readonly memoryPath: string | null;
  readonly privacy: RoundPrivacy;
}

export interface GlobalUpdate {
  readonly tensors: TensorMap;
  /** What the optimizer carries to the next round; null when it carries nothing. */
  readonly memory: ServerState | null;
}

/** Faults: `invalid-argument` when the partials don't fit each other or the start. */
export async function updateGlobal(input: GlobalUpdateInput): Promise<GlobalUpdate> {
  const plan = serverOf(input.campaign.strategy, input.round.number);
  const merged = keepFrozen(input, await meanOf(input, plan));
  // FedAvg over stacks has gone its way in products. At rate 1 it is the mean itself, with nothing
  // lost to a detour over differences.
  if (plan.server === "fedavg" && (plan.learningRate === 1 || isStacked(input))) {
    return { tensors: merged, memory: null };
  }
  const start = vectorsOf(input.start ?? new Map(), merged);
  const delta = new Map(
    [...merged].map(([name, { data }]) => {
      const from = start.get(name)!;
      return [name, Float64Array.from(data, (value, i) => value - from[i]!)];
    }),
  );
  const before = input.memoryPath === null ? null : memoryAt(input.memoryPath);
  const { x, state } = serverStep(plan, start, delta, before);
  const tensors = new Map<string, SafeTensor>();
  for (const [name, { shape }] of merged) {
    tensors.set(name, { shape, data: Float32Array.from(x.get(name)!) });
  }
  const hasMemory = state.first.size > 0;
  return { tensors: keepFrozen(input, tensors), memory: hasMemory ? state : null };
}

function isStacked({ partials }: GlobalUpdateInput): boolean {
  return partials.some(({ kind }) => kind === "stack");
}

/** The start moved by the mean update; by FedAvg's rate times that where the edges sent stacks. */
async function meanOf(input: GlobalUpdateInput, plan: ServerPlan): Promise<TensorMap> {
  const { campaign, round, start, partials, privacy } = input;
  const kinds = new Set(partials.map(({ kind }) => kind));
  if (kinds.size > 1) throw new Fault("invalid-argument", "some regions sent sums, others stacks");
  if (isNoisedCentrally(campaign)) {
    return tensorSum(start, await noisedMean(campaign, round, partials, privacy));
  }
  if (!kinds.has("stack")) return await mergePartials(start, partials);
  if (start === null) throw new Fault("invalid-argument", "stacks without a start");
  const { alpha, rank } = campaign.params;
  const { tensors } = await mergeStacks(start, partials, {
    scale: alpha / rank,
    // An optimizer's memory is of coordinates, so they must stay; else edges of a lower rank gain.
    ...(plan.server === "fedavg"
      ? { order: "largest-first", rate: plan.learningRate }
      : { order: "like-start" }),
  });
  return tensors;
}

/** A frozen A is the start's to the last bit, whatever rounding the sums went through. */
function keepFrozen({ campaign, start }: GlobalUpdateInput, tensors: TensorMap): TensorMap {
  if (start === null || rulesOf(campaign).lora !== "freeze-a") return tensors;
  return new Map(
    [...tensors].map(([name, tensor]) => [
      name,
      name.endsWith(".lora_a") ? start.get(name)! : tensor,
    ]),
  );
}

/** Of the same names as `like`; what the start doesn't have is 0. */
function vectorsOf(start: TensorMap, like: TensorMap): Vectors {
  return new Map(
    [...like].map(([name, { data }]) => {
      return [name, Float64Array.from(start.get(name)?.data ?? new Float64Array(data.length))];
    }),
  );
}

function memoryAt(path: string): ServerState {
  return decodeServerState(readFileSync(path), path);
}
