// The edges that have one model, as columns of numbers: a decision reads these and nothing else, so
// that a thousand candidates cost microseconds. Lanes hold everything else, and keep them in step.
import type { Lane } from "./lane.ts";

const LENGTH_MIN = 64;
const SENT_WEIGHT = 0.05;

/** Bits of `flags`. */
export const OPEN = 1;
export const GPU = 2;
export const PREEMPTIBLE = 4;
export const PENALISED = 8;

export class ModelColumns {
  readonly model: string;
  readonly lanes: Lane[] = [];
  /** Ejected lanes, on trial or not, oldest first. */
  readonly ejected: Lane[] = [];
  /** The best rates that any of them has measured; lent to those that haven't. */
  bestPrefillTokensPerS = 0;
  bestStepMs = 0;
  penalised = 0;
  /** Of the prompts sent lately, what wasn't cached. */
  unreadTokensMean = 0;

  flags = new Uint8Array(LENGTH_MIN);
  versionNo = new Int32Array(LENGTH_MIN);
  /** Round trip, queue, load and the first step. */
  baseMs = new Float64Array(LENGTH_MIN);
  /** When prompts sent there should all be read. */
  readAtMs = new Float64Array(LENGTH_MIN);
  /** Of each prompt token. */
  prefillMs = new Float64Array(LENGTH_MIN);
  /** Of each completion token. */
  stepMs = new Float64Array(LENGTH_MIN);
  /** Of a request's share in the edge, each millisecond. */
  gramsPerMs = new Float64Array(LENGTH_MIN);
  costPerMs = new Float64Array(LENGTH_MIN);
  /** What the decision under way predicts. */
  ttftMs = new Float64Array(LENGTH_MIN);
  totalMs = new Float64Array(LENGTH_MIN);
  near = new Int32Array(LENGTH_MIN);
  /** Where each edge is, by its row; -1 for nowhere. */
  #places = new Int32Array(LENGTH_MIN).fill(-1);

  constructor(model: string) {
    this.model = model;
  }

  get count(): number {
    return this.lanes.length;
  }

  placeOf(row: number): number {
    return this.#places[row] ?? -1;
  }

  sent(unreadTokens: number): void {
    const away = unreadTokens - this.unreadTokensMean;
    this.unreadTokensMean += this.unreadTokensMean === 0 ? away : away * SENT_WEIGHT;
  }

  add(lane: Lane): void {
    lane.at = this.lanes.length;
    this.lanes.push(lane);
    if (this.lanes.length > this.flags.length) this.#grow();
    if (lane.edge.row >= this.#places.length) this.#growPlaces(lane.edge.row);
    this.#places[lane.edge.row] = lane.at;
    this.flags[lane.at] = 0;
    this.readAtMs[lane.at] = -Infinity;
  }

  /** The last lane takes its place. */
  remove(lane: Lane): void {
    const { at } = lane;
    if ((this.flags[at]! & PENALISED) !== 0) this.penalised -= 1;
    const place = this.ejected.indexOf(lane);
    if (place >= 0) this.ejected.splice(place, 1);
    this.#places[lane.edge.row] = -1;
    lane.at = -1;
    const last = this.lanes.pop()!;
    if (last === lane) return;
    const from = this.lanes.length;
    for (const column of this.#kept()) column[at] = column[from]!;
    this.lanes[at] = last;
    last.at = at;
    this.#places[last.edge.row] = at;
  }

  /** The columns that outlive a decision. */
  #kept(): (Uint8Array | Int32Array | Float64Array)[] {
    return [
      ...[this.flags, this.versionNo, this.baseMs, this.readAtMs, this.prefillMs, this.stepMs],
      ...[this.gramsPerMs, this.costPerMs],
    ];
  }

  #grow(): void {
    const length = this.flags.length * 2;
    const wider = (column: Float64Array) => {
      const next = new Float64Array(length);
      next.set(column);
      return next;
    };
    const flags = new Uint8Array(length);
    flags.set(this.flags);
    this.flags = flags;
    const versionNo = new Int32Array(length);
    versionNo.set(this.versionNo);
    this.versionNo = versionNo;
    this.baseMs = wider(this.baseMs);
    this.readAtMs = wider(this.readAtMs);
    this.prefillMs = wider(this.prefillMs);
    this.stepMs = wider(this.stepMs);
    this.gramsPerMs = wider(this.gramsPerMs);
    this.costPerMs = wider(this.costPerMs);
    this.ttftMs = new Float64Array(length);
    this.totalMs = new Float64Array(length);
    this.near = new Int32Array(length);
  }

  #growPlaces(row: number): void {
    const places = new Int32Array(2 ** Math.ceil(Math.log2(row + 1))).fill(-1);
    places.set(this.#places);
    this.#places = places;
  }
}
