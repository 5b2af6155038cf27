// The region's side of secure aggregation: who masks, who shared what with whom, and what is to be
// asked of whom next. A pure function of its state, what came in, and the time; folding the inputs
// again gives the same state, which is how it survives a crash.
import { create } from "@bufbuild/protobuf";
import {
  type MaskCommand,
  MaskInboxSchema,
  MaskJoinSchema,
  type MaskKeys,
  MaskRosterSchema,
  type MaskShares,
  UnmaskRequestSchema,
  type UnmaskShares,
} from "../../proto/gen/isthmus/v1/secagg_pb.ts";
import { MaskGraph, MEMBERS_MIN } from "./mask-graph.ts";
import { faultOfKeys, type MaskIdentity } from "./mask-keys.ts";
import { stillClosed, type Unmasking } from "./unmasking.ts";

/** How long edges are waited for before those who have not answered are left out. */
export const STAGE_MAX_MS = 15_000;
const MEMBERS_MAX = 1_000;

export type MaskingInput =
  /** These may mask; once. */
  | { readonly kind: "open"; readonly edges: readonly string[] }
  | { readonly kind: "keys"; readonly edge: string; readonly keys: MaskKeys }
  | { readonly kind: "shares"; readonly edge: string; readonly shares: MaskShares }
  /** The edge has the shares that are meant for it. */
  | { readonly kind: "agreed"; readonly edge: string }
  | { readonly kind: "refused"; readonly edge: string; readonly reason: string }
  | { readonly kind: "tick" }
  /** Nobody was here to listen: those who are waited for get their time anew. */
  | { readonly kind: "resumed" }
  /** No more deltas come; these are in the sum. Once. */
  | { readonly kind: "close"; readonly included: readonly string[] }
  | { readonly kind: "opened"; readonly edge: string; readonly shares: UnmaskShares };

export type MaskingPhase =
  | "waiting"
  | "joining"
  | "sharing"
  | "masking"
  | "unmasking"
  | "open"
  | "failed";

export interface MaskingState {
  readonly place: Omit<MaskIdentity, "edge">;
  readonly phase: MaskingPhase;
  readonly sinceMs: number;
  readonly invited: readonly string[];
  readonly keys: ReadonlyMap<string, MaskKeys>;
  readonly shares: ReadonlyMap<string, MaskShares>;
  readonly agreed: ReadonlySet<string>;
  /** Who is left out, and why. */
  readonly left: ReadonlyMap<string, string>;
  /** Sorted; null until the round has closed. */
  readonly included: readonly string[] | null;
  readonly opened: ReadonlyMap<string, UnmaskShares>;
  /** Why there are no masks, or why they stay. */
  readonly reason: string;
}

export type MaskingStep = MaskCommand["step"];

export function startMasking(place: Omit<MaskIdentity, "edge">): MaskingState {
  return {
    place,
    ...{ phase: "waiting", sinceMs: 0, invited: [], reason: "", included: null },
    ...{ keys: new Map(), shares: new Map(), agreed: new Set(), left: new Map() },
    opened: new Map(),
  };
}

/** The state after an input; the very same state when the input changes nothing. */
export function stepMasking(state: MaskingState, input: MaskingInput, nowMs: number): MaskingState {
  const next = take(state, input, nowMs);
  const isOver = next.sinceMs + STAGE_MAX_MS <= nowMs && input.kind === "tick";
  if (next === state && !isOver) return state;
  return advance(next, isOver, nowMs);
}

/** What each edge is to be asked now, until it answers. */
export function asksOf(state: MaskingState): ReadonlyMap<string, MaskingStep> {
  const { phase, invited, keys, shares, left } = state;
  const asks = new Map<string, MaskingStep>();
  const ask = (edges: Iterable<string>, step: (edge: string) => MaskingStep) => {
    for (const edge of edges) if (!left.has(edge)) asks.set(edge, step(edge));
  };
  if (phase === "joining") {
    const waiting = invited.filter((edge) => !keys.has(edge));
    ask(waiting, () => ({ case: "join", value: create(MaskJoinSchema) }));
  } else if (phase === "sharing") {
    const members = sortedKeys(state);
    const roster = create(MaskRosterSchema, { members });
    const waiting = members.map(({ edge }) => edge).filter((edge) => !shares.has(edge));
    ask(waiting, () => ({ case: "roster", value: roster }));
  } else if (phase === "masking") {
    const waiting = [...shares.keys()].filter((edge) => !state.agreed.has(edge));
    ask(waiting, (edge) => ({ case: "inbox", value: inboxOf(state, edge) }));
  } else if (phase === "unmasking") {
    const included = [...(state.included ?? [])];
    const request = create(UnmaskRequestSchema, { included });
    const waiting = included.filter((edge) => !state.opened.has(edge));
    ask(waiting, () => ({ case: "unmask", value: request }));
  }
  return asks;
}

/** What is needed to take the masks off. Requires the phase unmasking or open. */
export function unmaskingOf(state: MaskingState): Unmasking {
  const sharing = [...state.shares.keys()];
  return {
    graph: new MaskGraph(sortedKeys(state)),
    keys: new Map(sharing.map((edge) => [edge, state.keys.get(edge)!])),
    commitments: new Map(
      [...state.shares].map(([edge, { selfCommitment }]) => [edge, selfCommitment]),
    ),
    included: state.included ?? [],
    opened: state.opened,
  };
}

function take(state: MaskingState, input: MaskingInput, nowMs: number): MaskingState {
  switch (input.kind) {
    case "open": {
      if (state.phase !== "waiting") return state;
      const invited = [...new Set(input.edges)].sort().slice(0, MEMBERS_MAX);
      return { ...state, phase: "joining", sinceMs: nowMs, invited };
    }
    case "keys":
      return takeKeys(state, input.edge, input.keys);
    case "shares":
      return takeShares(state, input.edge, input.shares);
    case "agreed": {
      const isAwaited = state.phase === "masking" && state.shares.has(input.edge);
      if (!isAwaited || state.agreed.has(input.edge)) return state;
      return { ...state, agreed: new Set(state.agreed).add(input.edge) };
    }
    case "refused":
      return asksOf(state).has(input.edge) ? leave(state, input.edge, input.reason) : state;
    case "tick":
      return state;
    case "resumed":
      return { ...state, sinceMs: nowMs };
    case "close":
      return close(state, input.included, nowMs);
    case "opened": {
      const { edge, shares } = input;
      if (!asksOf(state).has(edge) || state.phase !== "unmasking") return state;
      return { ...state, opened: new Map(state.opened).set(edge, shares) };
    }
  }
}

function takeKeys(state: MaskingState, edge: string, keys: MaskKeys): MaskingState {
  if (state.phase !== "joining" || !asksOf(state).has(edge)) return state;
  const fault = keys.edge === edge ? faultOfKeys(keys, state.place) : "the keys are of another";
  if (fault) return leave(state, edge, fault);
  return { ...state, keys: new Map(state.keys).set(edge, keys) };
}

/** An edge that doesn't share with each of its neighbours can't be unmasked later. */
function takeShares(state: MaskingState, edge: string, shares: MaskShares): MaskingState {
  if (state.phase !== "sharing" || !asksOf(state).has(edge)) return state;
  const wanted = new MaskGraph(sortedKeys(state)).neighbours(edge);
  const receivers = shares.shares.map(({ to }) => to).sort();
  const isWhole =
    receivers.join() === wanted.join() && shares.shares.every(({ from }) => from === edge);
  if (!isWhole) return leave(state, edge, "its shares are not for those that it masks with");
  return { ...state, shares: new Map(state.shares).set(edge, shares) };
}

function close(state: MaskingState, edges: readonly string[], nowMs: number): MaskingState {
  if (state.included !== null || state.phase === "failed") return state;
  const included = [...edges].sort();
  if (state.phase !== "masking") return fail({ ...state, included }, "no masks were agreed");
  const stranger = included.find((edge) => !state.shares.has(edge));
  if (stranger) return fail({ ...state, included }, `${stranger} has no part in the masks`);
  const graph = new MaskGraph(sortedKeys(state));
  const short = included.find((edge) => {
    return (
      graph.holders(edge).filter((one) => included.includes(one)).length < graph.threshold(edge)
    );
  });
  if (short !== undefined || included.length < MEMBERS_MIN) {
    const among = `${included.length} of ${state.shares.size} masked deltas came`;
    return fail({ ...state, included }, `${among}: too few to take the masks off`);
  }
  return { ...state, phase: "unmasking", sinceMs: nowMs, included };
}

/** Goes on to the next stage once nobody is waited for any more, or for too long. */
function advance(state: MaskingState, isOver: boolean, nowMs: number): MaskingState {
  const waiting = [...asksOf(state).keys()];
  if (state.phase === "joining" || state.phase === "sharing") {
    if (waiting.length > 0 && !isOver) return state;
    const rest = waiting.reduce((after, edge) => leave(after, edge, "did not answer"), state);
    return rest.phase === "joining" ? toSharing(rest, nowMs) : toMasking(rest, nowMs);
  }
  if (state.phase !== "unmasking") return state;
  if (stillClosed(unmaskingOf(state)).length === 0) return { ...state, phase: "open" };
  if (waiting.length > 0 && !isOver) return state;
  return fail(state, "too few edges have opened their shares");
}

function toSharing(state: MaskingState, nowMs: number): MaskingState {
  if (state.keys.size < MEMBERS_MIN) {
    const found = `${state.keys.size} edges have joined, ${MEMBERS_MIN} are needed`;
    return fail(state, `no secure aggregation: ${found}`);
  }
  return { ...state, phase: "sharing", sinceMs: nowMs };
}

function toMasking(state: MaskingState, nowMs: number): MaskingState {
  const graph = new MaskGraph(sortedKeys(state));
  const isShort = (edge: string) => {
    return (
      graph.holders(edge).filter((one) => state.shares.has(one)).length < graph.threshold(edge)
    );
  };
  const sharing = [...state.shares.keys()];
  if (sharing.length < MEMBERS_MIN || sharing.some(isShort)) {
    const found = `${sharing.length} of ${state.keys.size} edges have shared their secrets`;
    return fail(state, `no secure aggregation: ${found}, too few`);
  }
  return { ...state, phase: "masking", sinceMs: nowMs };
}

function inboxOf({ shares, keys }: MaskingState, edge: string) {
  const all = [...shares.keys()].filter((one) => keys.has(one)).sort();
  const sealed = all.flatMap((from) => shares.get(from)!.shares.filter(({ to }) => to === edge));
  return create(MaskInboxSchema, { shares: sealed });
}

function sortedKeys({ keys }: MaskingState): MaskKeys[] {
  return [...keys.values()].sort((a, b) => (a.edge < b.edge ? -1 : 1));
}

function leave(state: MaskingState, edge: string, reason: string): MaskingState {
  return { ...state, left: new Map(state.left).set(edge, reason) };
}

function fail(state: MaskingState, reason: string): MaskingState {
  return { ...state, phase: "failed", reason };
}
