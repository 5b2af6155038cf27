// The policies that can be simulated, by name: ours, and those that others use.
import { hashPair, hashText } from "../kernel/random-streams.ts";
import { BaselineRouter, type PickEdge } from "./baseline-router.ts";
import type { EdgeView } from "./edge-view.ts";
import { createOurRouter } from "./our-router.ts";
import type { RegionTraits, SimRouter } from "./sim-router.ts";

export const policyNames = [
  "ours",
  "round-robin",
  "random",
  "least-request",
  "power-of-two",
  "session-hash",
  "llm-d",
] as const;

export type PolicyName = (typeof policyNames)[number];

/** Weights that llm-d publishes for its default scorers. */
const LLM_D = { prefix: 3, queue: 2, kv: 2 } as const;

/** One router for one region. */
export function createRouter(policy: PolicyName, region: string, traits: RegionTraits): SimRouter {
  return policy === "ours"
    ? createOurRouter(region, traits)
    : new BaselineRouter(region, pickers[policy]());
}

const pickers: Record<Exclude<PolicyName, "ours">, () => PickEdge> = {
  "round-robin": () => {
    let last = "";
    return (candidates) => {
      const next = candidates.find(({ edge }) => edge > last) ?? candidates[0]!;
      last = next.edge;
      return next;
    };
  },
  random: () => (candidates, _request, random) => draw(candidates, random()),
  "least-request": () => (candidates, _request, random) =>
    best(candidates, (view) => -view.outstanding, random()),
  "power-of-two": () => (candidates, _request, random) => {
    const one = draw(candidates, random());
    const other = draw(candidates, random());
    return other.outstanding < one.outstanding ? other : one;
  },
  // Rendezvous hashing: the session's own edge, and when that can't take it, always the same next.
  "session-hash": () => (candidates, request) => {
    const head = request.sessionId === "" ? (request.blocks[0] ?? 0) : hashText(request.sessionId);
    return best(candidates, ({ edge }) => hashPair(hashText(edge), head), 0);
  },
  "llm-d": () => (candidates, request, random) => {
    const queues = candidates.map(({ queued }) => queued);
    const least = Math.min(...queues);
    const range = Math.max(...queues) - least;
    const score = (view: EdgeView): number => {
      const queue = range === 0 ? 1 : 1 - (view.queued - least) / range;
      const kv = 1 - Math.min(1, view.active / view.slots);
      return LLM_D.prefix * view.prefixShare(request.blocks) + LLM_D.queue * queue + LLM_D.kv * kv;
    };
    return best(candidates, score, random());
  },
};

function draw(candidates: readonly EdgeView[], share: number): EdgeView {
  return candidates[Math.floor(share * candidates.length)]!;
}

/** The one with the highest score; among equals by lot. */
function best(
  candidates: readonly EdgeView[],
  score: (view: EdgeView) => number,
  lot: number,
): EdgeView {
  const scores = candidates.map(score);
  const most = Math.max(...scores);
  return draw(
    candidates.filter((_, at) => scores[at] === most),
    lot,
  );
}
