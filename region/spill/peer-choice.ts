// Which other region should serve what this one can't. Loops are impossible by construction: a
// request names the regions it has passed, never goes to one of them, and takes two hops at most.
import type { Random } from "../../runtime/random.ts";
import { NEAR_EQUAL } from "../route/router.ts";

/** Regions that a request may leave; the third one must serve it or refuse. */
export const HOPS_MAX = 2;
/** Assumed of a peer that is connected but has not said how it is. */
const UNTOLD_TTFT_MS = 10_000;

export interface PeerView {
  readonly region: string;
  /** `region/`. */
  readonly key: string;
  readonly connected: boolean;
  readonly rttMs: number;
  readonly penaltyMs: number;
  /** What it said lately about the model; null when it said that nothing there can serve it. */
  readonly model: { readonly predictedTtftMs: number } | "untold" | null;
}

export type PeerAssessment =
  | { readonly kind: "candidate"; readonly peer: PeerView; readonly totalMs: number }
  | { readonly kind: "rejected"; readonly peer: PeerView; readonly reason: string };

/** The regions a request will have passed once this one sends it on. */
export function passedRegions(visited: readonly string[], self: string): readonly string[] {
  return visited.includes(self) ? visited : [...visited, self];
}

export function assessPeer(
  peer: PeerView,
  passed: readonly string[],
  excluded: ReadonlySet<string>,
): PeerAssessment {
  const rejected = (reason: string): PeerAssessment => ({ kind: "rejected", peer, reason });
  if (passed.includes(peer.region)) return rejected("the request has been there");
  if (passed.length > HOPS_MAX) return rejected(`the request has taken ${HOPS_MAX} hops`);
  if (!peer.connected) return rejected("the trunk to it is not up");
  if (peer.model === null) return rejected("no edge there is ready with the model");
  if (excluded.has(peer.key)) return rejected("it was tried for this request");
  const ttftMs = peer.model === "untold" ? UNTOLD_TTFT_MS : peer.model.predictedTtftMs;
  return { kind: "candidate", peer, totalMs: peer.rttMs + ttftMs + peer.penaltyMs };
}

export function choosePeer(
  peers: Iterable<PeerView>,
  passed: readonly string[],
  excluded: ReadonlySet<string>,
  random: Random,
): PeerView | null {
  const candidates = [...peers]
    .map((peer) => assessPeer(peer, passed, excluded))
    .filter((assessment) => assessment.kind === "candidate");
  const best = Math.min(...candidates.map((candidate) => candidate.totalMs));
  const near = candidates.filter((candidate) => candidate.totalMs <= best * NEAR_EQUAL);
  return near[Math.floor(random() * near.length)]?.peer ?? null;
}
