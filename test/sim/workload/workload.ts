// Draws the requests of a scenario: who asks where and when, how long the prompt and the answer
// are, and what they share. It is drawn before anything runs, so every policy gets the same one.
import { create } from "@bufbuild/protobuf";
import { type Policy, PolicySchema } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import type { Random } from "../../../runtime/random.ts";
import { exponential, logNormal, type RandomStreams, zipf } from "../kernel/random-streams.ts";
import { capacityPerS } from "../world/engine-profile.ts";
import type { RegionPlan } from "../world/sim-mesh.ts";
import { Bursts } from "./bursts.ts";
import type { LengthShape, Scenario } from "./scenario.ts";
import {
  type Conversation,
  createRequest,
  type RequestShape,
  type SimRequest,
} from "./sim-request.ts";

/** Between an answer and what its caller says next. */
const THINK_MS = 15_000;
/** How long an answer is guessed to take when the next turn is planned. */
const MS_PER_TOKEN = 50;
const CONTEXT_TOKENS = 6000;
const MAX_TOKENS = 1024;
const SAMPLES = 4000;

export interface WorkloadOptions {
  readonly scenario: Scenario;
  readonly regions: readonly RegionPlan[];
  readonly model: string;
  readonly seconds: number;
  /** Instead of what the scenario's utilisation comes to. */
  readonly ratePerS?: number | undefined;
  /** Callers with rules, deadlines, batches, tenants, and some who go away: for audits. */
  readonly isVaried: boolean;
}

export interface Workload {
  /** In the order of their times. */
  readonly arrivals: readonly Arrival[];
  readonly ratePerS: number;
}

export interface Arrival {
  readonly atMs: number;
  request(): SimRequest;
}

interface Drawn {
  readonly atMs: number;
  readonly shape: Omit<RequestShape, "id">;
}

export function drawWorkload(options: WorkloadOptions, streams: RandomStreams): Workload {
  const ratePerS = options.ratePerS ?? rateOf(options, streams);
  const drawn: Drawn[] = [];
  const conversations = { count: 0 };
  for (const [site] of options.regions.entries()) {
    const random = streams.of(`arrivals ${site}`);
    const starts = startsOf(options, ratePerS, site, random);
    for (const atMs of starts) {
      drawn.push(...turnsOf(options, site, atMs, conversations.count++, random));
    }
  }
  const endMs = options.seconds * 1000;
  const ordered = drawn
    .filter(({ atMs }) => atMs >= 0 && atMs < endMs)
    .sort((a, b) => a.atMs - b.atMs);
  const arrivals = ordered.map(({ atMs, shape }, at) => ({
    atMs,
    request: () => createRequest({ ...shape, id: at + 1 }),
  }));
  return { arrivals, ratePerS };
}

/** Requests a second that bring the mesh to the scenario's utilisation, nothing being cached. */
function rateOf({ scenario, regions }: WorkloadOptions, streams: RandomStreams): number {
  const random = streams.of("lengths");
  const written = meanOf(scenario.output, random);
  const said = meanOf(scenario.prompt, random);
  // The n-th turn repeats n - 1 questions and answers, and the last one's number is geometric. What
  // is repeated counts half: some of it is cached, by any policy.
  const repeated = (scenario.turns - 1) * (said + written) + scenario.systemTokens;
  const read = said + repeated / 2;
  let capacity = 0;
  for (const { edges } of regions) {
    for (const profile of edges) capacity += capacityPerS(profile, read, written);
  }
  return capacity * scenario.utilisation;
}

function meanOf(shape: LengthShape, random: Random): number {
  let sum = 0;
  for (let k = 0; k < SAMPLES; k += 1) sum += lengthOf(shape, random);
  return sum / SAMPLES;
}

function lengthOf({ median, sigma, most }: LengthShape, random: Random): number {
  return Math.max(4, Math.min(most, Math.round(logNormal(random, median, sigma))));
}

/** When conversations begin at a site: Poisson, thinned to the day and the bursts. */
function startsOf(
  { scenario, regions, seconds }: WorkloadOptions,
  ratePerS: number,
  site: number,
  random: Random,
): number[] {
  const { burst, diurnal, turns } = scenario;
  const endMs = seconds * 1000;
  // Those that are under way at the beginning began before it.
  const beginMs = -(turns - 1) * THINK_MS * 3;
  const bursts = new Bursts(burst, beginMs, endMs, random);
  const meanPerMs = ratePerS / regions.length / turns / 1000;
  const mostPerMs = meanPerMs * (1 + diurnal) * bursts.most;
  const starts: number[] = [];
  for (let atMs = beginMs; ; ) {
    atMs += exponential(random, 1 / mostPerMs);
    if (atMs >= endMs) return starts;
    const phase = 2 * Math.PI * (atMs / endMs + site / regions.length);
    const factor = (1 + diurnal * Math.sin(phase)) * bursts.at(atMs);
    if (random() < (meanPerMs * factor) / mostPerMs) starts.push(atMs);
  }
}

function turnsOf(
  options: WorkloadOptions,
  site: number,
  startMs: number,
  id: number,
  random: Random,
): Drawn[] {
  const { scenario, model } = options;
  const { systems, systemTokens, hasSessions, turns } = scenario;
  const conversation: Conversation = {
    ...{ id: 1_000_000 + id, model },
    system: systems === 0 ? 0 : 1 + zipf(random, systems),
    systemBlocks: systems === 0 ? 0 : Math.floor(systemTokens / 64),
    sessionId: hasSessions ? `c${id}` : "",
  };
  const varied = options.isVaried ? variationOf(options, site, random) : unvaried;
  const drawn: Drawn[] = [];
  let promptTokens = systems === 0 ? 0 : systemTokens;
  for (let atMs = startMs; ; ) {
    promptTokens += lengthOf(scenario.prompt, random);
    const outputTokens = lengthOf(scenario.output, random);
    const isLeaving = varied.leaves > 0 && random() < varied.leaves;
    const cancelAtToken = isLeaving ? 1 + Math.floor(random() * outputTokens) : Infinity;
    const lengths = { promptTokens, outputTokens, maxTokens: MAX_TOKENS, cancelAtToken };
    const { tenant, isBatch, policy, timeoutMs } = varied;
    const shape = { site, conversation, ...lengths, tenant, isBatch, policy, timeoutMs };
    drawn.push({ atMs, shape });
    promptTokens += outputTokens;
    const isLast = random() < 1 / turns || promptTokens > CONTEXT_TOKENS;
    if (isLast) return drawn;
    atMs += outputTokens * MS_PER_TOKEN + exponential(random, THINK_MS);
  }
}

interface Variation {
  readonly tenant: string;
  readonly isBatch: boolean;
  readonly policy: Policy | undefined;
  readonly timeoutMs: number;
  /** Share of its callers who go away midway. */
  readonly leaves: number;
}

const unvaried: Variation = {
  ...{ tenant: "", isBatch: false, policy: undefined, timeoutMs: Infinity, leaves: 0 },
};

function variationOf({ regions }: WorkloadOptions, site: number, random: Random): Variation {
  return {
    tenant: `t${Math.floor(random() * 8)}`,
    isBatch: random() < 0.1,
    policy: policyOf(regions, site, random),
    timeoutMs: random() < 0.2 ? 5000 + random() * 60_000 : Infinity,
    leaves: 0.05,
  };
}

/** A fifth of the callers have rules: some name regions, some a regime, some want a hedge. */
function policyOf(
  regions: readonly RegionPlan[],
  site: number,
  random: Random,
): Policy | undefined {
  const lot = random();
  const other = regions[Math.floor(random() * regions.length)]!;
  if (lot < 0.06) return create(PolicySchema, { regions: [regions[site]!.name, other.name] });
  if (lot < 0.1) return create(PolicySchema, { regions: [other.name] });
  if (lot < 0.15) return create(PolicySchema, { jurisdictions: ["gdpr"] });
  if (lot < 0.18) return create(PolicySchema, { gpuRequired: true });
  return lot < 0.22 ? create(PolicySchema, { hedge: true }) : undefined;
}
