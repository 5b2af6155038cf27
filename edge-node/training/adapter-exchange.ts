// How adapters get into a trainer and out of it.

import { Fault } from "../../proto/fault.ts";
import { adapterRank, type LoraAdapter, type LoraModule } from "../../sync/formats/lora-adapter.ts";
import type { TrainingTarget } from "./trainable-parameters.ts";
import type { Trainer } from "./trainer.ts";

/** Sets the trained tensors to an adapter's. Faults: failed-precondition, when it doesn't fit. */
export function setAdapter(
  { parameters }: Trainer,
  adapter: LoraAdapter,
  target: TrainingTarget & { readonly kind: "lora" },
): void {
  if (adapterRank(adapter) !== target.rank || adapter.alpha !== target.alpha) {
    throw new Fault(
      "failed-precondition",
      `the adapter has rank ${adapterRank(adapter)} and alpha ${adapter.alpha}; ` +
        `the job wants ${target.rank} and ${target.alpha}`,
    );
  }
  if (adapter.modules.size !== parameters.adapters.size) {
    throw new Fault(
      "failed-precondition",
      `the adapter has ${adapter.modules.size} modules; the job wants ${parameters.adapters.size}`,
    );
  }
  for (const [weight, { a, b }] of adapter.modules) {
    parameters.write(`${weight}.lora_a`, { value: a });
    parameters.write(`${weight}.lora_b`, { value: b });
  }
}

/** Takes the trained adapter out of a trainer. */
export function takeAdapter({ parameters }: Trainer, architecture: string, alpha: number) {
  const modules = new Map<string, LoraModule>();
  for (const weight of parameters.adapters.keys()) {
    const { value: a } = parameters.read(`${weight}.lora_a`);
    const { value: b } = parameters.read(`${weight}.lora_b`);
    const sizes = parameters.adapterSizes(weight);
    modules.set(weight, { ...sizes, a, b });
  }
  return { architecture, alpha, modules } satisfies LoraAdapter;
}
