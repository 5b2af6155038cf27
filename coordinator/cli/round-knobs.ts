// The options of `isthmus rounds start` and `schedule` that become fields of the campaign's plan:
// one table says their names, what they are, where they go, and what the help says.
import { type TrainPlan, trainDefaults } from "../rounds/params.ts";
import { numberOption, type OptionSpecs } from "./command.ts";
import { durationOption } from "./duration.ts";
import { strategyKnobs } from "./strategy-knobs.ts";
import { UsageError } from "./usage-error.ts";

export interface Knob {
  /** Section of the request, and the field in it; a path into it where the field is nested. */
  readonly to: readonly [section: string, ...field: string[]];
  /**
   * `seconds` are milliseconds in the request, `duration` (6h, 90s) as well; a `flag` is true;
   * `numbers` stand between commas, and a single one is itself.
   */
  readonly kind: "number" | "numbers" | "text" | "flag" | "seconds" | "duration";
  /** What the value stands for in the help, e.g. N. */
  readonly value?: string;
  readonly help: string;
}

/** Options as they were given: a flag is true, everything else is text. */
export type GivenOptions = Readonly<Record<string, string | boolean | undefined>>;

/** In the order of the help. */
export const roundKnobs: Readonly<Record<string, Knob>> = {
  goal: {
    to: ["pace", "goal"],
    kind: "number",
    value: "N",
    help: "deltas that make a round and end it early; 0 asks every edge (0)",
  },
  "over-selection": {
    to: ["pace", "overSelection"],
    kind: "number",
    value: "X",
    help: "edges invited for each delta of the goal (1.3)",
  },
  quorum: {
    to: ["pace", "quorum"],
    kind: "number",
    value: "N",
    help: "fewest deltas; a round with fewer is abandoned (1)",
  },
  deadline: {
    to: ["pace", "deadlineMs"],
    kind: "duration",
    value: "TIME",
    help: "longest from the offer to the last delta, e.g. 90s or 10m (5m)",
  },
  "gate-margin": {
    to: ["gate", "marginPoints"],
    kind: "number",
    value: "P",
    help: "points of exact match that the public set may lose (5)",
  },
  "private-margin": {
    to: ["gate", "privateMarginPoints"],
    kind: "number",
    value: "P",
    help: "points that any region's private set may lose (20)",
  },
  canaries: {
    to: ["gate", "canaryEdges"],
    kind: "number",
    value: "N",
    help: "edges that try a new version first (1)",
  },
  patience: {
    to: ["gate", "patienceMs"],
    kind: "duration",
    value: "TIME",
    help: "longest that a stage waits for requests, while they come (5m)",
  },
  refusals: {
    to: ["gate", "refusalsMax"],
    kind: "number",
    value: "N",
    help: "rounds refused or rolled back in a row that end the campaign (3)",
  },
  examples: {
    to: ["rules", "examplesMax"],
    kind: "number",
    value: "N",
    help: "examples of each set that an evaluation takes (100)",
  },
  codec: {
    to: ["format", "codec"],
    kind: "text",
    value: "NAME",
    help: "how deltas are written: f32, bf16, int8 or top-k (f32)",
  },
  "top-share": {
    to: ["format", "topShare"],
    kind: "number",
    value: "X",
    help: "share of the numbers that top-k sends (0.1)",
  },
  clip: {
    to: ["privacy", "noise", "clip"],
    kind: "number",
    value: "C",
    help: "L2 norm that deltas are clipped to under noise",
  },
  "clip-quantile": {
    to: ["privacy", "noise", "clipQuantile"],
    kind: "number",
    value: "Q",
    help: "share of deltas that the clip moves to let through whole (it stays)",
  },
  "noise-multiplier": {
    to: ["privacy", "noise", "multiplier"],
    kind: "number",
    value: "Z",
    help: "deviation of the noise as a multiple of the clip",
  },
  "noise-at": {
    to: ["privacy", "noise", "at"],
    kind: "text",
    value: "WHERE",
    help: "center (on the mean) or edge (on each delta) (center)",
  },
  "epsilon-budget": {
    to: ["privacy", "epsilonBudget"],
    kind: "number",
    value: "E",
    help: "most that all rounds of the model together may cost",
  },
  delta: {
    to: ["privacy", "delta"],
    kind: "number",
    value: "D",
    help: "probability with which that may fail (0.00001)",
  },
  "secure-aggregation": {
    to: ["privacy", "secureAggregation"],
    kind: "flag",
    help: "masks deltas, so that a region learns only their sum",
  },
  ...strategyKnobs,
  rank: trainKnob("rank", "rank of the adapter"),
  alpha: trainKnob("alpha", "its alpha; the adapter's scale is alpha / rank"),
  steps: trainKnob("steps", "optimizer steps of one edge in one round"),
  batch: trainKnob("batch", "examples of one step"),
  "sequence-length": trainKnob("sequenceLength", "tokens of one training sequence"),
  "learning-rate": trainKnob("learningRate", "of the first round"),
  "final-rate-share": trainKnob("finalRateShare", "learning rate of the last round against it"),
  "replay-share": trainKnob("replayShare", "share of each batch that is public replay"),
  proximal: trainKnob("proximal", "FedProx: how strongly edges are held near the round's start"),
  "norm-max": trainKnob("normMax", "L2 norm beyond which a delta is quarantined; 0: none"),
  seed: trainKnob("seed", "what every random choice of the training follows from"),
};

function trainKnob(field: keyof TrainPlan, help: string): Knob {
  const text = `${help} (${trainDefaults[field]})`;
  return { to: ["params", field], kind: "number", value: "X", help: text };
}

/** For `readArgs`. */
export const knobOptions: OptionSpecs = Object.fromEntries(
  Object.entries(roundKnobs).map(([name, { kind }]) => {
    return [name, { type: kind === "flag" ? "boolean" : "string" }];
  }),
);

const HELP_COLUMN = 20;
const GAP = 2;

/** A line of help: the option in its column, then what it does. */
export function optionLine(option: string, help: string): string {
  return `${option.padEnd(HELP_COLUMN - GAP)}${" ".repeat(GAP)}${help}`;
}

/** Puts lines of help into one column, as wide as their longest option needs. */
export function inColumns(lines: readonly string[]): string[] {
  const pairs = lines.map((line) => /^(\S.*?) {2,}(.*)$/.exec(line)?.slice(1) ?? [line]);
  const width = Math.max(
    ...pairs.map(([option, help]) => (help === undefined ? 0 : option!.length)),
  );
  return pairs.map(([option, help]) => {
    return help === undefined ? option! : `${option!.padEnd(width)}${" ".repeat(GAP)}${help}`;
  });
}

export const knobLines: readonly string[] = Object.entries(roundKnobs).map(
  ([name, { value, help }]) => {
    return optionLine(value === undefined ? `--${name}` : `--${name} ${value}`, help);
  },
);

/** The sections of a request that the given options fill. Faults: UsageError. */
export function sectionsOf(path: string, values: GivenOptions): Record<string, object> {
  const sections: Record<string, object> = {};
  for (const [name, knob] of Object.entries(roundKnobs)) {
    const value = knobValue(path, name, knob, values[name]);
    if (value !== undefined) put(sections, knob.to, value);
  }
  return sections;
}

function knobValue(
  path: string,
  name: string,
  { kind }: Knob,
  given: string | boolean | undefined,
): unknown {
  if (kind === "flag" || typeof given === "boolean") return given;
  switch (kind) {
    case "text":
      if (given === "") throw new UsageError(`${path}: --${name} is empty`);
      return given;
    case "number":
      return numberOption(path, name, given);
    case "numbers": {
      const numbers = given?.split(",").map((one) => numberOption(path, name, one.trim()));
      return numbers?.length === 1 ? numbers[0] : numbers;
    }
    case "seconds": {
      const seconds = numberOption(path, name, given);
      return seconds === undefined ? undefined : seconds * 1000;
    }
    case "duration":
      return durationOption(path, name, given);
  }
}

function put(into: Record<string, object>, path: readonly string[], value: unknown): void {
  let at = into as Record<string, unknown>;
  for (const name of path.slice(0, -1)) {
    at[name] = { ...(at[name] as object | undefined) };
    at = at[name] as Record<string, unknown>;
  }
  at[path.at(-1)!] = value;
}
