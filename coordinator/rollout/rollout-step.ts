// The decisions about a version's way to the edges: given the state, what happened, and the time,
// the state after. Pure. What happened before changes nothing when it is told again.
//
// gating → canary → wave … → watching → promoted. A candidate that the gate finds wanting is
// refused; one that does worse with callers than the incumbent is withdrawn wherever it is, until
// the watching ends. While canaries and waves go on, edges that are away keep to the incumbent.
import type { Evaluation } from "../catalogue/model-record.ts";
import { compareHealth, type EdgeHealth } from "./health-comparison.ts";
import { isEnded, type RolloutPhase, type RolloutState } from "./rollout-state.ts";

/** An edge that can't serve the version so long after it was told counts as failed. */
export const FAILED_AFTER_MS = 10_000;
/** Edges that are still on the way then are not waited for. */
export const STAGE_TIMEOUT_MS = 120_000;

/** Times that canaries are chosen, the first one included. */
const CANARY_TRIES_MAX = 3;

/** The fleet as the regions tell it. */
export interface RolloutSight {
  /** `<region>/<edge>` of every living edge. */
  readonly alive: readonly string[];
  /** Those that serve the model, the ones to try a version first at the front. */
  readonly ready: readonly string[];
  /** Those that serve the candidate. */
  readonly serving: readonly string[];
  readonly failed: readonly { readonly edge: string; readonly reason: string }[];
  readonly health: readonly EdgeHealth[];
}

export type RolloutEvent =
  | { readonly kind: "seen"; readonly sight: RolloutSight }
  /** The gate's word; `refusal` is empty when it lets the candidate pass. */
  | {
      readonly kind: "judged";
      readonly reference: readonly Evaluation[];
      readonly measured: readonly Evaluation[];
      readonly refusal: string;
    }
  /** The incumbent is the desired version of every edge again. */
  | { readonly kind: "withdrawn" }
  | { readonly kind: "roll-back"; readonly reason: string }
  /** Another version is made the served one. */
  | { readonly kind: "supersede"; readonly reason: string }
  /** The watching is cut short: the next rollout begins. */
  | { readonly kind: "enough" };

export function stepRollout(state: RolloutState, event: RolloutEvent, nowMs: number): RolloutState {
  if (isEnded(state)) return state;
  if (state.phase === "withdrawing") {
    return event.kind === "withdrawn" ? ended(state, "rolled-back", state.reason, nowMs) : state;
  }
  switch (event.kind) {
    case "seen":
      return seen(state, event.sight, nowMs);
    case "judged":
      return judged(state, event, nowMs);
    case "roll-back":
      return withdraw(state, event.reason);
    case "supersede":
      return ended(state, "superseded", event.reason, nowMs);
    case "enough":
      return state.phase === "watching" ? ended(state, "promoted", "", nowMs) : state;
    case "withdrawn":
      return state;
  }
}

function judged(
  state: RolloutState,
  event: RolloutEvent & { kind: "judged" },
  nowMs: number,
): RolloutState {
  if (state.phase !== "gating") return state;
  const { reference, measured, refusal } = event;
  const next = { ...state, reference: [...reference], measured: [...measured] };
  if (refusal !== "") return ended(next, "refused", refusal, nowMs);
  return { ...next, phase: "canary", stageSinceMs: nowMs };
}

function seen(state: RolloutState, sight: RolloutSight, nowMs: number): RolloutState {
  if (state.phase === "gating") return state;
  const verdict = compareHealth(sight.health, state.plan.live);
  if (verdict.kind === "worse") return { ...withdraw(state, verdict.reason), isCondemned: true };
  if (state.phase === "watching") {
    const isOver = nowMs - state.stageSinceMs >= state.plan.watchMs;
    return isOver ? ended(state, "promoted", "", nowMs) : state;
  }
  return tried(state, sight, verdict.kind === "unsure", nowMs);
}

/** One stage: choose its edges, wait for them, watch them, go on. */
function tried(
  state: RolloutState,
  sight: RolloutSight,
  isUnsure: boolean,
  nowMs: number,
): RolloutState {
  const { plan, edges, stageSinceMs } = state;
  const isTimeUp = nowMs - stageSinceMs >= STAGE_TIMEOUT_MS;
  const here = edges.filter((edge) => sight.alive.includes(edge));
  if (here.length === 0) {
    // A canary that is gone has hardly said anything: others try the version in its stead. But not
    // one after another without end, for it may be the version that ends them.
    const mayChoose = state.stage === 0 && edges.length < CANARY_TRIES_MAX * plan.canaryEdges;
    if (mayChoose && sight.ready.some((edge) => !edges.includes(edge))) {
      const chosen = withEdges(state, sight, plan.canaryEdges);
      return { ...chosen, stageSinceMs: nowMs, settledMs: null };
    }
    return isTimeUp ? withdraw(state, noneServed(edges)) : state;
  }
  const failed = sight.failed.filter(({ edge }) => here.includes(edge));
  const [first] = failed;
  const isStuck = nowMs - stageSinceMs >= FAILED_AFTER_MS && 2 * failed.length > here.length;
  if (first !== undefined && isStuck) {
    const reason = `${first.edge} can't serve it: ${first.reason}`;
    return { ...withdraw(state, reason), isCondemned: true };
  }
  const serving = here.filter((edge) => sight.serving.includes(edge));
  if (serving.length === 0) {
    return isTimeUp ? withdraw(state, noneServed(edges)) : state;
  }
  if (serving.length + failed.length < here.length && !isTimeUp) return state;
  const settledMs = state.settledMs ?? nowMs;
  const watchedMs = nowMs - settledMs;
  const isHopeful = watchedMs < plan.quietMs || willSuffice(state, sight, watchedMs);
  const isWorthWaiting = isUnsure && isHopeful && watchedMs < plan.patienceMs;
  if (watchedMs < plan.holdMs || isWorthWaiting)
    return state.settledMs === null ? { ...state, settledMs } : state;
  return nextStage(isUnsure ? noteUnsure(state) : state, sight, nowMs);
}

function noneServed(edges: readonly string[]): string {
  if (edges.length === 0) return "no edge was there to try it";
  return `none of ${edges.join(", ")} came to serve it`;
}

/** Whether there will be enough requests within the patience, as fast as they have come so far. */
function willSuffice({ plan }: RolloutState, { health }: RolloutSight, watchedMs: number): boolean {
  const requests = health.reduce((sum, { candidate }) => sum + candidate.requests, 0);
  return requests * plan.patienceMs >= plan.live.samples * watchedMs;
}

/** Waves that would add nobody are passed over. */
function nextStage(state: RolloutState, sight: RolloutSight, nowMs: number): RolloutState {
  const share = state.plan.waves[state.stage];
  const fresh = { ...state, stageSinceMs: nowMs, settledMs: null };
  if (share === undefined) return { ...fresh, phase: "watching" };
  const wave: RolloutState = { ...fresh, phase: "wave", stage: state.stage + 1 };
  const count = Math.ceil(share * sight.alive.length);
  const next = withEdges(wave, sight, count);
  return next.edges.length > state.edges.length ? next : nextStage(wave, sight, nowMs);
}

/** As many living edges as are asked for try it, those that do so already among them. */
function withEdges(state: RolloutState, sight: RolloutSight, count: number): RolloutState {
  const here = state.edges.filter((edge) => sight.alive.includes(edge));
  const others = sight.ready.filter((edge) => !state.edges.includes(edge));
  const added = others.slice(0, Math.max(0, count - here.length));
  return { ...state, edges: [...state.edges, ...added].sort() };
}

function noteUnsure(state: RolloutState): RolloutState {
  const name = state.stage === 0 ? "canary" : `wave ${state.stage}`;
  return { ...state, unsure: [...state.unsure, name] };
}

function withdraw(state: RolloutState, reason: string): RolloutState {
  return { ...state, phase: "withdrawing", reason };
}

function ended(
  state: RolloutState,
  phase: RolloutPhase,
  reason: string,
  nowMs: number,
): RolloutState {
  return { ...state, phase, reason, endedMs: nowMs };
}
