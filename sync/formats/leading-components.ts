// The first components of a LoRA adapter: what an edge that can't afford the whole rank trains.
// Source: Cho et al., "Heterogeneous LoRA for federated fine-tuning", arXiv 2401.06432.

import { Fault } from "../../proto/fault.ts";
import type { LoraAdapter, LoraModule } from "./lora-adapter.ts";

/**
 * The first `rank` rows of every A and columns of every B; alpha / rank stays what it was. After a
 * truncation by singular values these are the components that matter most. An adapter of that rank
 * or a lower one stays whole. Faults: invalid-argument, failed-precondition (ranks that differ).
 */
export function leadingComponents(adapter: LoraAdapter, rank: number): LoraAdapter {
  if (!(Number.isInteger(rank) && rank >= 1)) {
    throw new Fault("invalid-argument", `a rank of ${rank}`);
  }
  const whole = Math.max(0, ...[...adapter.modules.values()].map((module) => module.rank));
  if (whole <= rank) return adapter;
  const modules = [...adapter.modules].map(([weight, module]): [string, LoraModule] => {
    if (module.rank !== whole) {
      throw new Fault("failed-precondition", `${weight} has rank ${module.rank}, others ${whole}`);
    }
    return [weight, leadingOf(module, rank)];
  });
  return { ...adapter, alpha: leadingAlpha(adapter.alpha, whole, rank), modules: new Map(modules) };
}

/** The alpha with which a part of the rank has the scale of the whole. */
export function leadingAlpha(alpha: number, whole: number, rank: number): number {
  return rank >= whole ? alpha : (alpha * rank) / whole;
}

function leadingOf({ rank: whole, inputs, outputs, a, b }: LoraModule, rank: number): LoraModule {
  const columns = new Float32Array(outputs * rank);
  for (let row = 0; row < outputs; row++) {
    columns.set(b.subarray(row * whole, row * whole + rank), row * rank);
  }
  return { rank, inputs, outputs, a: a.slice(0, rank * inputs), b: columns };
}
