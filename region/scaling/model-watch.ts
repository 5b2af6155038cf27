// What the heartbeats of a region's edges say of one model, second by second: how many edges there
// are and how far, how loaded they are, and how long a request takes there. Every gateway of the
// region hears the same heartbeats, so each makes the same of them.
import {
  type Heartbeat,
  type ModelState,
  ModelStatus,
} from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { MemberStatus } from "../membership/member.ts";

/** What is looked at of a member of the region. */
export interface WatchedEdge {
  readonly edge: string;
  readonly status: MemberStatus;
  readonly heartbeat: Heartbeat;
}

export interface EdgeFacts {
  readonly ready: number;
  readonly stored: number;
  readonly starting: number;
  readonly active: number;
  readonly queued: number;
  /** Requests that ended at the edges. Only grows. */
  readonly ended: number;
  readonly slotsPerEdge: number;
  readonly serviceMs: number;
}

/** Where nobody has measured anything. */
const SLOTS = 8;
const SERVICE_MS = 5000;
/** With fewer requests ended, the mean time in a slot is guessed from what is left to make. */
const ENDED_MIN = 10;
/** What was measured before this long ago weighs a third. */
const FORGET_MS = 300_000;
/** Streams at work are half through, on the mean. */
const WHOLE_OF_REST = 2;

export class ModelWatch {
  /** Requests that each edge's process had ended when it was last seen. */
  #endedAt: ReadonlyMap<string, number> = new Map();
  #ended = 0;
  /** Of the last minutes: time that slots were in use, and requests that ended. */
  #slotMs = 0;
  #recentEnded = 0;
  #lookedMs = Number.NaN;
  #active = 0;
  #slots = SLOTS;
  #guessedMs = 0;

  /** Looks at what the edges say of the model now, each once. */
  look(model: string, edges: Iterable<WatchedEdge>, nowMs: number): EdgeFacts {
    const sum = { ready: 0, stored: 0, starting: 0, active: 0, queued: 0 };
    const endedAt = new Map<string, number>();
    let [slots, rest, atWork, endedNow] = [0, 0, 0, 0];
    for (const edge of edges) {
      const { heartbeat, status } = edge;
      // The first entry is what is served, if anything is.
      const state = heartbeat.models.find((one) => one.model === model);
      if (state === undefined) continue;
      const key = `${edge.edge} ${heartbeat.incarnation}`;
      const ended = endedOf(heartbeat, model);
      // What an edge did before it was seen here says nothing of now.
      endedNow += Math.max(0, ended - (this.#endedAt.get(key) ?? ended));
      endedAt.set(key, ended);
      if (status === "dead" || status === "leaving") continue;
      sum.active += state.active;
      sum.queued += state.queued;
      const place = placeOf(state.status, status);
      if (place !== null) sum[place] += 1;
      if (place !== "ready") continue;
      slots += slotsOf(state);
      if (state.active === 0 || state.decodeTokensPerS <= 0) continue;
      rest += (state.active * state.remainingTokensMean * 1000) / state.decodeTokensPerS;
      atWork += state.active;
    }
    this.#endedAt = endedAt;
    if (sum.ready > 0) this.#slots = Math.max(1, Math.round(slots / sum.ready));
    if (atWork > 0) this.#guessedMs = (rest / atWork) * WHOLE_OF_REST;
    this.#count(endedNow, sum.active, nowMs);
    const { serviceMs } = this;
    return { ...sum, ended: this.#ended, slotsPerEdge: this.#slots, serviceMs };
  }

  /** A request's mean time in its slot: by Little's law, slots in use to requests ended. */
  get serviceMs(): number {
    if (this.#recentEnded >= ENDED_MIN) return this.#slotMs / this.#recentEnded;
    return this.#guessedMs || SERVICE_MS;
  }

  #count(endedNow: number, active: number, nowMs: number): void {
    const passedMs = Number.isNaN(this.#lookedMs) ? 0 : nowMs - this.#lookedMs;
    const kept = Math.exp(-passedMs / FORGET_MS);
    this.#lookedMs = nowMs;
    this.#slotMs = this.#slotMs * kept + this.#active * passedMs;
    this.#recentEnded = this.#recentEnded * kept + endedNow;
    this.#active = active;
    this.#ended += endedNow;
  }
}

/** What an edge is to the model: a draining one does what it has, but is no place for more. */
function placeOf(model: ModelStatus, edge: MemberStatus): "ready" | "stored" | "starting" | null {
  if (edge === "draining") return null;
  switch (model) {
    case ModelStatus.READY:
      // One that isn't connected yet, or has just lost its link, is likely to be back.
      return edge === "ready" ? "ready" : "starting";
    case ModelStatus.STORED:
      return "stored";
    case ModelStatus.FETCHING:
    case ModelStatus.LOADING:
      return "starting";
    default:
      return null;
  }
}

function slotsOf({ slots, concurrencyLimit }: ModelState): number {
  return concurrencyLimit > 0 ? Math.min(slots, concurrencyLimit) : slots;
}

function endedOf({ health }: Heartbeat, model: string): number {
  let sum = 0;
  for (const one of health) if (one.model === model) sum += Number(one.requests);
  return sum;
}
