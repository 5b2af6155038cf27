// How a round's rule stands on the wire, and what it means to whoever reads it.
import { Fault } from "../../proto/fault.ts";
import type { CombineRule } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { type CombineName, combineRules, type TierRule } from "./tier-verdict.ts";

export const loraModes = ["stack", "average", "freeze-a"] as const;
export type LoraMode = (typeof loraModes)[number];

export interface RoundRule {
  readonly combine: TierRule;
  readonly lora: LoraMode;
}

/**
 * A rule off the wire; without one, the weighted mean of factors, as before there were rules.
 * Faults: `invalid-argument` for a rule that isn't known or numbers that make no sense.
 */
export function ruleOfWire(rule: CombineRule | undefined): RoundRule {
  const combine = rule?.combine || "mean";
  const lora = rule?.lora || "average";
  const { byzantine = 0, trimShare = 0, normBound = 0 } = rule ?? {};
  if (!isOneOf(combineRules, combine)) throw unknown("rule", combine);
  if (!isOneOf(loraModes, lora)) throw unknown("way with LoRA", lora);
  if (!(trimShare >= 0 && trimShare < 0.5) || !(normBound >= 0) || !Number.isFinite(normBound)) {
    const message = `a trim share of ${trimShare}, a norm bound of ${normBound}`;
    throw new Fault("invalid-argument", message, { param: "rule" });
  }
  // f32 on the wire: .2 must not become a hair less, or one of five would stay untrimmed.
  const share = Number(trimShare.toPrecision(6));
  return { combine: { combine, byzantine, trimShare: share, normBound }, lora };
}

export function ruleToWire({ combine: { combine, ...numbers }, lora }: RoundRule) {
  return { combine: combine satisfies CombineName, ...numbers, lora };
}

function isOneOf<T extends string>(names: readonly T[], name: string): name is T {
  return (names as readonly string[]).includes(name);
}

function unknown(what: string, name: string): Fault {
  const message = `no ${what} is called ${JSON.stringify(name.slice(0, 40))}`;
  return new Fault("invalid-argument", message, { param: "rule" });
}
