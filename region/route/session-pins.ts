// Where each conversation last was, and how much of it was read there: a bounded memory.
import { LRUCache } from "lru-cache";

const SESSIONS_MAX = 50_000;

export interface SessionPin {
  readonly edge: string;
  /** Tokens of the conversation whose state the edge was left with. */
  readonly tokens: number;
}

export class SessionPins {
  readonly #pins: LRUCache<string, SessionPin>;

  constructor(sessionsMax: number = SESSIONS_MAX) {
    this.#pins = new LRUCache({ max: sessionsMax });
  }

  pin(model: string, session: string, pin: SessionPin): void {
    this.#pins.set(`${model} ${session}`, pin);
  }

  of(model: string, session: string): SessionPin | undefined {
    return this.#pins.get(`${model} ${session}`);
  }
}
