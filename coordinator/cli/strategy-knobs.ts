// The options of `isthmus rounds start` that say how one model is made of many deltas.
import { serverOptimizers } from "../../sync/strategy/server-optimizer.ts";
import { combineRules } from "../../sync/strategy/tier-verdict.ts";
import { loraModes } from "../../sync/strategy/wire-rule.ts";
import type { Knob } from "./round-knobs.ts";

export const strategyKnobs: Readonly<Record<string, Knob>> = {
  strategy: knob("server", "text", "NAME", `${listed(serverOptimizers)} (fedavg)`),
  lr: knob("lr", "numbers", "X,...", "the server's learning rate, by round (the strategy's own)"),
  momentum: knob("momentum", "number", "X", "of fedavgm and nesterov (0.9)"),
  beta1: knob("beta1", "number", "X", "of fedadam and fedyogi (0.9), fedadagrad (0)"),
  beta2: knob("beta2", "number", "X", "of fedadam and fedyogi (0.99)"),
  tau: knob("tau", "number", "X", "what adaptive strategies add to the root of v (0.001)"),
  "bias-correction": {
    to: ["strategy", "biasCorrection"],
    kind: "flag",
    help: "corrects fedadam's first rounds, as Flower does",
  },
  combine: knob("combine", "text", "NAME", `${listed(combineRules)} (robust)`),
  byzantine: knob("byzantine", "number", "N", "edges of a region that may lie (a fifth)"),
  "trim-share": knob("trimShare", "number", "X", "what a trimmed mean drops at each end (0.2)"),
  "norm-bound": knob("normBound", "number", "X", "norm of the longest deltas (twice the median)"),
  lora: knob("lora", "text", "NAME", `${listed(loraModes)} (stack)`),
  buffer: {
    to: ["strategy", "asynchronous", "buffer"],
    kind: "number",
    value: "N",
    help: "asynchronous: ends a round with so many deltas, late ones count in the next",
  },
};

function knob(field: string, kind: Knob["kind"], value: string, help: string): Knob {
  return { to: ["strategy", field], kind, value, help };
}

function listed(names: readonly string[]): string {
  return `${names.slice(0, -1).join(", ")} or ${names.at(-1)}`;
}
