// The edges and models of a region as routing keeps them, in step with what heartbeats and
// membership say.
import type { GpuState, Heartbeat, ModelState } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import { ModelStatus } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { MemberStatus } from "../membership/member.ts";
import type { BlockIndex } from "./block-index.ts";
import { HeldPrefixes } from "./held-prefixes.ts";
import { type EdgeRow, Lane } from "./lane.ts";
import { estimate } from "./lane-estimate.ts";
import { ModelColumns } from "./model-columns.ts";
import { rebalance } from "./outliers.ts";

/** A best rate that rose by less than this share changes nothing for the others. */
const RATE_STEP = 1.05;
/** Above it, those that are no longer anywhere are forgotten. */
const VERSIONS_MAX = 1 << 16;

export class RoutedEdges {
  readonly #region: string;
  readonly #gramsPerKwh: number;
  readonly #index: BlockIndex;
  readonly #edges = new Map<string, EdgeRow>();
  readonly #models = new Map<string, ModelColumns>();
  readonly #freeRows: number[] = [];
  /** Versions by number, so that a decision compares numbers. */
  readonly #versions = new Map<string, number>();
  #rows = 0;
  #beats = 0;

  constructor(region: string, gramsPerKwh: number, index: BlockIndex) {
    this.#region = region;
    this.#gramsPerKwh = gramsPerKwh;
    this.#index = index;
  }

  all(): Iterable<EdgeRow> {
    return this.#edges.values();
  }

  /** Rows in use are below it. */
  get rows(): number {
    return this.#rows;
  }

  columnsOf(model: string): ModelColumns | undefined {
    return this.#models.get(model);
  }

  laneOf(edge: string, model: string): Lane | undefined {
    const row = this.#edges.get(edge);
    return row === undefined ? undefined : laneIn(row, model);
  }

  versionNo(version: string): number {
    return this.#versions.get(version) ?? this.#versions.size;
  }

  beat(edge: string, heartbeat: Heartbeat, nowMs: number): void {
    let row = this.#edges.get(edge);
    const revision = heartbeat.routingRevision;
    if (row !== undefined && row.incarnation !== heartbeat.incarnation) {
      this.remove(edge);
      row = undefined;
    }
    // By far the most frequent in a large region.
    if (row !== undefined && revision !== 0 && row.idleRevision === revision) return;
    row ??= this.#join(edge, heartbeat.incarnation);
    takeVitals(row, heartbeat);
    this.#beats += 1;
    for (const state of heartbeat.models) this.#takeModel(row, state, nowMs);
    for (let k = row.lanes.length - 1; k >= 0; k -= 1) {
      const lane = row.lanes[k]!;
      if (lane.beat !== this.#beats) this.#drop(lane);
    }
    row.idleRevision = row.lanes.every((lane) => lane.isIdle) ? revision : 0;
  }

  setStatus(edge: string, status: MemberStatus, reason: string): void {
    const row = this.#edges.get(edge);
    if (row === undefined || (row.status === status && row.statusReason === reason)) return;
    row.status = status;
    row.statusReason = reason;
    this.#refresh(row);
    for (const { columns } of row.lanes) this.#rebalance(columns);
  }

  setRtt(edge: string, rttMs: number): void {
    const row = this.#edges.get(edge);
    if (row === undefined || row.rttMs === rttMs) return;
    row.rttMs = rttMs;
    this.#refresh(row);
  }

  remove(edge: string): void {
    const row = this.#edges.get(edge);
    if (row === undefined) return;
    for (const lane of [...row.lanes]) this.#drop(lane);
    this.#edges.delete(edge);
    this.#freeRows.push(row.row);
  }

  /** Brings a lane's columns up to date after it was changed. */
  refresh(lane: Lane): void {
    if (lane.at >= 0) estimate(lane, this.#gramsPerKwh);
  }

  #join(edge: string, incarnation: bigint): EdgeRow {
    const row: EdgeRow = {
      ...{ edge, key: `${this.#region}/${edge}`, row: this.#freeRows.pop() ?? this.#rows++ },
      ...{ incarnation, lanes: [], status: "suspect", statusReason: "not connected yet" },
      ...{ rttMs: 0, hasGpu: false, freeBytes: 0, watts: 0, costPerHour: 0, isPreemptible: false },
      idleRevision: 0,
    };
    this.#edges.set(edge, row);
    return row;
  }

  /** The first entry of a model counts: it tells of what is served, if anything is. */
  #takeModel(row: EdgeRow, state: ModelState, nowMs: number): void {
    let lane = laneIn(row, state.model);
    if (lane?.beat === this.#beats) return;
    lane ??= this.#addLane(row, state.model);
    lane.beat = this.#beats;
    if (lane.version !== state.version || lane.versionNo < 0) {
      lane.version = state.version;
      lane.versionNo = this.#numberOf(state.version);
    }
    const wasServable = lane.isServable;
    lane.take(state, nowMs);
    this.#takeRates(lane, state);
    estimate(lane, this.#gramsPerKwh);
    if (state.prefilling > lane.unread) waitForOthers(lane, nowMs);
    if (wasServable && !lane.isServable) this.#rebalance(lane.columns);
  }

  #addLane(row: EdgeRow, model: string): Lane {
    let columns = this.#models.get(model);
    if (columns === undefined) {
      columns = new ModelColumns(model);
      this.#models.set(model, columns);
    }
    const lane = new Lane(row, columns, new HeldPrefixes(this.#index, row.row));
    columns.add(lane);
    row.lanes.push(lane);
    return lane;
  }

  #drop(lane: Lane): void {
    const { edge, columns } = lane;
    edge.lanes.splice(edge.lanes.indexOf(lane), 1);
    lane.held.clear();
    columns.remove(lane);
    if (columns.count === 0) this.#models.delete(columns.model);
    else this.#rebalance(columns);
  }

  /** An edge that hasn't measured itself is lent the best rates, gets work, and so measures. */
  #takeRates({ columns }: Lane, state: ModelState): void {
    const { prefillTokensPerS, decodeTokensPerS } = state;
    let isNews = false;
    if (prefillTokensPerS > columns.bestPrefillTokensPerS * RATE_STEP) {
      columns.bestPrefillTokensPerS = prefillTokensPerS;
      isNews = true;
    }
    const stepMs = decodeTokensPerS > 0 ? 1000 / decodeTokensPerS : Infinity;
    if (stepMs * RATE_STEP < (columns.bestStepMs || Number.MAX_VALUE)) {
      columns.bestStepMs = stepMs;
      isNews = true;
    }
    if (!isNews) return;
    for (const lane of columns.lanes) {
      if (lane.prefillTokensPerS === 0 || !lane.pace.isMeasured) estimate(lane, this.#gramsPerKwh);
    }
  }

  #rebalance(columns: ModelColumns): void {
    if (columns.ejected.length === 0) return;
    for (const lane of rebalance(columns)) estimate(lane, this.#gramsPerKwh);
  }

  #refresh(row: EdgeRow): void {
    for (const lane of row.lanes) estimate(lane, this.#gramsPerKwh);
  }

  #numberOf(version: string): number {
    const known = this.#versions.get(version);
    if (known !== undefined) return known;
    if (this.#versions.size >= VERSIONS_MAX) this.#renumber();
    const number = this.#versions.size;
    this.#versions.set(version, number);
    return number;
  }

  /** Forgets the versions that no lane has any more. */
  #renumber(): void {
    this.#versions.clear();
    for (const { lanes } of this.#edges.values()) {
      for (const lane of lanes) {
        const number = this.#versions.get(lane.version) ?? this.#versions.size;
        this.#versions.set(lane.version, number);
        lane.versionNo = number;
        lane.columns.versionNo[lane.at] = number;
      }
    }
  }
}

function laneIn({ lanes }: EdgeRow, model: string): Lane | undefined {
  for (const lane of lanes) if (lane.columns.model === model) return lane;
  return undefined;
}

/** Somebody else's prompts are being read there: taken to be as ours are, and half done. */
function waitForOthers({ columns, at, prefilling, unread, unreadTokens }: Lane, nowMs: number) {
  const tokens = ((prefilling - unread) * columns.unreadTokensMean) / 2 + unreadTokens;
  const readAtMs = nowMs + tokens * columns.prefillMs[at]!;
  if (readAtMs > columns.readAtMs[at]!) columns.readAtMs[at] = readAtMs;
}

function takeVitals(row: EdgeRow, heartbeat: Heartbeat): void {
  const { gpus, labels, models } = heartbeat;
  row.hasGpu = gpus.length > 0;
  row.watts = labels?.watts ?? 0;
  row.costPerHour = labels?.costPerHour ?? 0;
  row.isPreemptible = labels?.preemptible ?? false;
  // Only a model that isn't loaded asks for it.
  if (models.every(({ status }) => status === ModelStatus.READY)) return;
  row.freeBytes = gpus.length > 0 ? vramFree(gpus) : Number(heartbeat.memoryFreeBytes);
}

function vramFree(gpus: readonly GpuState[]): number {
  return gpus.reduce((sum, { vramFreeBytes }) => sum + Number(vramFreeBytes), 0);
}
