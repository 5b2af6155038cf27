// The workloads and meshes that are shipped, by name.
import { type EngineProfile, profiles } from "../world/engine-profile.ts";

export interface LengthShape {
  /** Tokens; log-normal, cut at both ends. */
  readonly median: number;
  readonly sigma: number;
  readonly most: number;
}

export interface Scenario {
  readonly name: string;
  readonly what: string;
  readonly regions: number;
  /** Edges of each region. */
  readonly edges: readonly EngineProfile[];
  /** Of the mesh's capacity, by the lengths below. */
  readonly utilisation: number;
  readonly prompt: LengthShape;
  readonly output: LengthShape;
  /** Turns of a conversation, on average: each repeats what was before it. */
  readonly turns: number;
  /** Whether the mesh is told which requests belong together. */
  readonly hasSessions: boolean;
  /** Heads that conversations share, and how long they are; none when 0. */
  readonly systems: number;
  readonly systemTokens: number;
  /** How much the rate of a bursty site jumps; 1 for Poisson. */
  readonly burst: number;
  /** How far a region's rate goes up and down in a (shortened) day. */
  readonly diurnal: number;
  readonly hasFaults: boolean;
}

const { large, medium, small } = profiles;
const times = (count: number, profile: EngineProfile): EngineProfile[] =>
  Array.from({ length: count }, () => profile);

const plain = {
  regions: 1,
  edges: times(16, medium),
  utilisation: 0.8,
  prompt: { median: 350, sigma: 1, most: 4000 },
  output: { median: 120, sigma: 0.8, most: 1000 },
  ...{ turns: 1, hasSessions: false, systems: 0, systemTokens: 0 },
  ...{ burst: 1, diurnal: 0, hasFaults: false },
} as const satisfies Omit<Scenario, "name" | "what">;

export const scenarios: readonly Scenario[] = [
  { ...plain, name: "steady", what: "equal edges, Poisson arrivals, nothing shared" },
  {
    ...plain,
    name: "bursty",
    what: "three regions, each with bursts of its own of three times its rate",
    regions: 3,
    edges: times(6, medium),
    burst: 3,
  },
  {
    ...plain,
    name: "bursty-alone",
    what: "one region with such bursts: nobody to turn to, all edges equal",
    burst: 3,
  },
  {
    ...plain,
    name: "shared-prefix",
    what: "conversations of five turns over 24 shared heads of 768 tokens",
    ...{ turns: 5, hasSessions: true, systems: 24, systemTokens: 768 },
    prompt: { median: 80, sigma: 0.9, most: 1500 },
  },
  {
    ...plain,
    name: "heterogeneous",
    what: "large and medium GPUs beside boxes without one",
    edges: [...times(3, large), ...times(5, medium), ...times(10, small)],
  },
  {
    ...plain,
    name: "diurnal",
    what: "four regions whose days are shifted: some are full while others sleep",
    regions: 4,
    edges: times(6, medium),
    diurnal: 0.6,
  },
  {
    ...plain,
    name: "faults",
    what: "kills, freezes, cuts, slow edges and lost heartbeats in three regions",
    regions: 3,
    edges: [...times(1, large), ...times(5, medium), ...times(3, small)],
    prompt: { median: 150, sigma: 1, most: 3000 },
    turns: 3,
    hasFaults: true,
    utilisation: 0.65,
  },
];

export function scenarioOf(name: string): Scenario | undefined {
  return scenarios.find((scenario) => scenario.name === name);
}
