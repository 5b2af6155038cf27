// Everything that a region knows about where requests go best: fed with heartbeats, round trips and
// what became of requests, it says which edge to take, and why not the others. No I/O and no clock;
// `nowMs` is any scale that never goes back.
import { LRUCache } from "lru-cache";
import type { Heartbeat, RegionLabels } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import { residencyRefusal } from "../../runtime/policy/residency.ts";
import type { Random } from "../../runtime/random.ts";
import type { MemberStatus } from "../membership/member.ts";
import { BlockIndex, TOKENS_PER_BLOCK } from "./block-index.ts";
import * as choice from "./choice.ts";
import type { Assessment, Decision, DispatchHandle } from "./decision.ts";
import { Dispatch, type DispatchObserver } from "./dispatch.ts";
import { ExpectedLength, type LengthQuery } from "./expected-length.ts";
import type { EdgeRow, Lane } from "./lane.ts";
import { predictionOf, uncachedTokens } from "./lane-estimate.ts";
import type { ModelColumns } from "./model-columns.ts";
import { type ModelSummary, summarizeModel } from "./model-summary.ts";
import { release, releaseAll } from "./outliers.ts";
import { promptClass } from "./prompt-class.ts";
import { rejected, rejectionOf } from "./rejection.ts";
import type { RoutePolicy, RouteRequest } from "./route-request.ts";
import { RoutedEdges } from "./routed-edges.ts";
import { SessionPins } from "./session-pins.ts";
import { TtftHistogram } from "./ttft-histogram.ts";

export interface RouteTableOptions {
  readonly region: string;
  readonly labels?: RouteLabels;
  /** Prompt blocks remembered. */
  readonly prefixBlocksMax?: number;
  readonly sessionsMax?: number;
}

export type RouteLabels = Readonly<Pick<RegionLabels, "jurisdictions" | "gramsCo2PerKwh">>;

const TAIL_SHARE = 0.95;
const CLASSES_MAX = 1024;
const nothingExcluded: ReadonlySet<string> = new Set();
const noDispatch: DispatchHandle = { firstToken: () => {}, ended: () => {} };

export class RouteTable {
  readonly #region: string;
  readonly #jurisdictions: readonly string[];
  readonly #index: BlockIndex;
  readonly #edges: RoutedEdges;
  readonly #lengths = new ExpectedLength();
  readonly #pins: SessionPins;
  readonly #ttfts = new LRUCache<string, TtftHistogram>({ max: CLASSES_MAX });
  readonly #observer: DispatchObserver;

  constructor({ region, labels, prefixBlocksMax, sessionsMax }: RouteTableOptions) {
    this.#region = region;
    this.#jurisdictions = labels?.jurisdictions ?? [];
    this.#index = new BlockIndex(prefixBlocksMax);
    this.#pins = new SessionPins(sessionsMax);
    this.#edges = new RoutedEdges(region, labels?.gramsCo2PerKwh ?? 0, this.#index);
    this.#observer = {
      changed: (lane) => this.#edges.refresh(lane),
      finished: (request, { tokens, ttftMs }) => {
        this.#lengths.learn(request, tokens);
        this.#histogramOf(request).add(ttftMs);
      },
    };
  }

  /** Takes a heartbeat that membership accepted. */
  beat(edge: string, heartbeat: Heartbeat, nowMs: number): void {
    this.#edges.beat(edge, heartbeat, nowMs);
  }

  /** An edge gets work only while it is `ready`. Requires: a heartbeat of it. */
  setStatus(edge: string, status: MemberStatus, reason: string): void {
    this.#edges.setStatus(edge, status, reason);
  }

  setRtt(edge: string, rttMs: number): void {
    this.#edges.setRtt(edge, rttMs);
  }

  remove(edge: string): void {
    this.#edges.remove(edge);
  }

  /** Why this region must not serve requests of the policy, or null when it may. */
  residencyRefusal(policy: RoutePolicy): string | null {
    return residencyRefusal(policy, this.#region, this.#jurisdictions);
  }

  /** Completion tokens to expect, learnt from those before; `maxTokens` 0 for no bound. */
  expectedTokens(query: LengthQuery & { readonly maxTokens: number }): number {
    return this.#lengths.of(query, query.maxTokens);
  }

  /** The 95th percentile to the first token of requests like this; null while hardly any ended. */
  ttftP95Ms(request: LengthQuery): number | null {
    return this.#ttfts.get(classOf(request))?.percentileMs(TAIL_SHARE) ?? null;
  }

  /** What the edges with a model come to; null when there are none. */
  summary(model: string, nowMs: number): ModelSummary | null {
    const columns = this.#edges.columnsOf(model);
    return columns === undefined ? null : summarizeModel(columns, nowMs);
  }

  /** Takes an edge for the request, none whose key is excluded. Changes nothing: see dispatched. */
  decide(
    request: RouteRequest,
    nowMs: number,
    random: Random,
    excluded: ReadonlySet<string> = nothingExcluded,
  ): Decision {
    const columns = this.#edges.columnsOf(request.model);
    if (columns === undefined || this.residencyRefusal(request.policy) !== null)
      return { chosen: null };
    this.#release(columns, nowMs);
    let place = this.#pickIn(columns, request, nowMs, random, excluded);
    if (place < 0 && columns.ejected.length > 0) {
      for (const lane of releaseAll(columns)) this.#edges.refresh(lane);
      place = this.#pickIn(columns, request, nowMs, random, excluded);
    }
    if (place < 0) return { chosen: null };
    const lane = columns.lanes[place]!;
    return { chosen: predictionOf(lane, request, this.#cachedAt(lane, request), nowMs) };
  }

  /** What `decide` makes of every edge, in the order in which they joined. */
  explain(
    request: RouteRequest,
    nowMs: number,
    excluded: ReadonlySet<string> = nothingExcluded,
  ): Assessment[] {
    const refusal = this.residencyRefusal(request.policy);
    const columns = this.#edges.columnsOf(request.model);
    if (columns !== undefined) this.#release(columns, nowMs);
    return [...this.#edges.all()].map((row) => {
      if (refusal !== null) return rejected(row, "residency", refusal);
      return this.#assess(row, request, nowMs, excluded);
    });
  }

  /** Counts a request as sent to the edge until the result says how it ended. */
  dispatched(edge: string, model: string, request: RouteRequest, nowMs: number): DispatchHandle {
    const lane = this.#edges.laneOf(edge, model);
    if (lane === undefined) return noDispatch;
    const cachedTokens = this.#cachedAt(lane, request);
    const dispatch = new Dispatch(lane, request, cachedTokens, nowMs, this.#observer);
    const { sessionId, promptTokens } = request;
    if (sessionId !== "") this.#pins.pin(model, sessionId, { edge, tokens: promptTokens });
    return dispatch;
  }

  #pickIn(
    columns: ModelColumns,
    request: RouteRequest,
    nowMs: number,
    random: Random,
    excluded: ReadonlySet<string>,
  ): number {
    const { version, preferredVersion } = request;
    const versions = {
      pinned: version === "" ? -1 : this.#edges.versionNo(version),
      preferred: preferredVersion === "" ? -1 : this.#edges.versionNo(preferredVersion),
    };
    const found = this.#index.find(request.blocks, this.#edges.rows);
    const commonTokens = this.#index.commonBlocks * TOKENS_PER_BLOCK;
    choice.predictAll(columns, request, versions, commonTokens, nowMs);
    choice.creditPrefixes(columns, request, this.#index, found);
    const pinned = request.sessionId === "" ? -1 : this.#creditPin(columns, request);
    for (const key of excluded) {
      const at = this.#edges.laneOf(key.slice(this.#region.length + 1), request.model)?.at ?? -1;
      if (at >= 0 && columns.lanes[at]!.edge.key === key) columns.totalMs[at] = Infinity;
    }
    choice.weigh(columns, request, versions, nowMs);
    return choice.pick(columns, random, pinned);
  }

  #assess(
    row: EdgeRow,
    request: RouteRequest,
    nowMs: number,
    excluded: ReadonlySet<string>,
  ): Assessment {
    const lane = this.#edges.laneOf(row.edge, request.model);
    if (lane === undefined) return rejected(row, "model-absent", "it doesn't have the model");
    const rejection = rejectionOf(lane, request, excluded, nowMs);
    if (rejection !== null) return rejection;
    const prediction = predictionOf(lane, request, this.#cachedAt(lane, request), nowMs);
    if (prediction.ttftMs <= request.deadlineMs - nowMs) return { kind: "candidate", prediction };
    const late = "its first token would come after the deadline";
    return rejected(row, "too-late", late, prediction.terms.queueMs);
  }

  /** The place that the session is pinned to; -1 for none. */
  #creditPin(columns: ModelColumns, request: RouteRequest): number {
    const pin = this.#pins.of(request.model, request.sessionId);
    const lane = pin && this.#edges.laneOf(pin.edge, request.model);
    if (lane === undefined) return -1;
    const { promptTokens, blocks } = request;
    const known = this.#index.blocksAt(lane.edge.row, blocks) * TOKENS_PER_BLOCK;
    const held = this.#cachedAt(lane, request);
    const saved = uncachedTokens(promptTokens, known) - uncachedTokens(promptTokens, held);
    if (saved > 0) choice.creditPin(columns, lane.at, saved);
    return lane.at;
  }

  /** Tokens of the prompt that the edge should hold, by what it tells, was sent and is pinned. */
  #cachedAt(lane: Lane, { model, promptTokens, blocks, sessionId }: RouteRequest): number {
    let tokens = this.#index.blocksAt(lane.edge.row, blocks) * TOKENS_PER_BLOCK;
    // What an edge tells of its prefixes is truer than what a pin remembers.
    const pin = sessionId === "" || lane.held.hasTold ? undefined : this.#pins.of(model, sessionId);
    if (pin?.edge === lane.edge.edge) tokens = Math.max(tokens, pin.tokens);
    return Math.min(tokens, Math.max(0, promptTokens - 1));
  }

  #release(columns: ModelColumns, nowMs: number): void {
    if (columns.ejected.length === 0) return;
    for (const lane of release(columns, nowMs)) this.#edges.refresh(lane);
  }

  #histogramOf(request: LengthQuery): TtftHistogram {
    const known = this.#ttfts.get(classOf(request));
    if (known !== undefined) return known;
    const histogram = new TtftHistogram();
    this.#ttfts.set(classOf(request), histogram);
    return histogram;
  }
}

function classOf({ model, promptTokens }: LengthQuery): string {
  return `${model} ${promptClass(promptTokens)}`;
}
