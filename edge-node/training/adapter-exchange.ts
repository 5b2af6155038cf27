// How adapters get into a trainer and out of it. Where only the first components are trained, the
// trainer keeps each pair in two parts; outside of it a pair is one.

import { Fault } from "../../proto/fault.ts";
import { adapterRank, type LoraAdapter, type LoraModule } from "../../sync/formats/lora-adapter.ts";
import { REST_FACTORS, TRAINED_FACTORS, type TrainingTarget } from "./trainable-parameters.ts";
import type { Trainer } from "./trainer.ts";

type LoraTarget = TrainingTarget & { readonly kind: "lora" };

/** Sets the trained tensors to an adapter's. Faults: failed-precondition, when it doesn't fit. */
export function setAdapter(
  { parameters }: Trainer,
  adapter: LoraAdapter,
  target: LoraTarget,
): void {
  const { rank, alpha, trainedRank = rank } = target;
  if (adapterRank(adapter) !== rank || adapter.alpha !== alpha) {
    throw new Fault(
      "failed-precondition",
      `the adapter has rank ${adapterRank(adapter)} and alpha ${adapter.alpha}; ` +
        `the job wants ${rank} and ${alpha}`,
    );
  }
  if (adapter.modules.size !== parameters.adapters.size) {
    throw new Fault(
      "failed-precondition",
      `the adapter has ${adapter.modules.size} modules; the job wants ${parameters.adapters.size}`,
    );
  }
  for (const [weight, module] of adapter.modules) {
    for (const { factors, from, to } of partsOf(rank, trainedRank)) {
      const { a, b } = cutComponents(module, from, to);
      parameters.write(weight + factors[0], { value: a });
      parameters.write(weight + factors[1], { value: b });
    }
  }
}

/** Takes the whole adapter out of a trainer. */
export function takeAdapter(
  { parameters }: Trainer,
  architecture: string,
  { rank, alpha, trainedRank = rank }: LoraTarget,
): LoraAdapter {
  const modules = new Map<string, LoraModule>();
  for (const weight of parameters.adapters.keys()) {
    const parts = partsOf(rank, trainedRank).map(({ factors, from, to }) => ({
      rank: to - from,
      a: parameters.read(weight + factors[0]).value,
      b: parameters.read(weight + factors[1]).value,
    }));
    modules.set(weight, joinComponents(parts));
  }
  return { architecture, alpha, modules };
}

function partsOf(rank: number, trainedRank: number) {
  const trained = { factors: TRAINED_FACTORS, from: 0, to: trainedRank };
  const rest = { factors: REST_FACTORS, from: trainedRank, to: rank };
  return trainedRank < rank ? [trained, rest] : [trained];
}

/** Rows `from` to `to` of A, and columns of B. */
function cutComponents({ rank, inputs, outputs, a, b }: LoraModule, from: number, to: number) {
  const columns = new Float32Array(outputs * (to - from));
  for (let row = 0; row < outputs; row++) {
    columns.set(b.subarray(row * rank + from, row * rank + to), row * (to - from));
  }
  return { a: a.slice(from * inputs, to * inputs), b: columns };
}

function joinComponents(
  parts: readonly { readonly rank: number; readonly a: Float32Array; readonly b: Float32Array }[],
): LoraModule {
  const rank = parts.reduce((sum, part) => sum + part.rank, 0);
  const [first] = parts as [(typeof parts)[number]];
  const inputs = first.a.length / first.rank;
  const outputs = first.b.length / first.rank;
  const a = new Float32Array(rank * inputs);
  const b = new Float32Array(outputs * rank);
  let from = 0;
  for (const part of parts) {
    a.set(part.a, from * inputs);
    for (let row = 0; row < outputs; row++) {
      b.set(part.b.subarray(row * part.rank, (row + 1) * part.rank), row * rank + from);
    }
    from += part.rank;
  }
  return { rank, inputs, outputs, a, b };
}
