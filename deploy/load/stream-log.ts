// What one request of a caller came to: every event with its time, and what is wrong with them.
import type {
  Finished,
  GenerateResponse,
  Started,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { Question } from "./question.ts";

/** The way by which a caller reaches the mesh. */
export interface Door {
  readonly kind: "gateway" | "edge" | "sdk";
  /** The region or edge at the door; for the SDK a name of its own. */
  readonly name: string;
}

export class StreamLog {
  readonly door: Door;
  readonly question: Question;
  /** When it was asked for; of a plain caller, whose door may be down, the try that was taken. */
  openedMs: number;
  readonly ids: number[] = [];
  /** When each token arrived, by position. */
  readonly tokenMs: number[] = [];
  text = "";
  started: Started | null = null;
  finished: Finished | null = null;
  startedMs = 0;
  endedMs = 0;
  /** Refusals before anything was delivered, each tried again after a pause. */
  refusals = 0;
  /** Why it ended without its last event; empty while it runs and when it is complete. */
  failure = "";
  /** Tokens that came where an earlier one had been, and positions that were passed over. */
  doubled = 0;
  lost = 0;
  /** Events that contradict the order of a stream. */
  readonly broken: string[] = [];

  constructor(door: Door, question: Question, openedMs: number) {
    this.door = door;
    this.question = question;
    this.openedMs = openedMs;
  }

  take({ event }: GenerateResponse, nowMs: number): void {
    if (this.finished !== null) this.broken.push(`${event.case} after the end`);
    if (event.case === "started") {
      if (this.started !== null) this.broken.push("started twice");
      this.started = event.value;
      this.startedMs = nowMs;
    } else if (event.case === "tokens") {
      if (this.started === null) this.broken.push("tokens before the start");
      const { index, ids, text } = event.value;
      this.doubled += Math.max(0, this.ids.length - index);
      this.lost += Math.max(0, index - this.ids.length);
      for (const id of ids) {
        this.ids.push(id);
        this.tokenMs.push(nowMs);
      }
      this.text += text;
    } else if (event.case === "finished") {
      this.finished = event.value;
      this.text += event.value.text;
      this.endedMs = nowMs;
      const { completionTokens } = event.value;
      if (completionTokens !== this.ids.length) {
        this.broken.push(`${completionTokens} tokens are counted, ${this.ids.length} came`);
      }
    }
  }

  fail(reason: string, nowMs: number): void {
    this.failure = reason;
    this.endedMs = nowMs;
  }

  /** Something of the answer was delivered: from here on it must be completed. */
  get isAcknowledged(): boolean {
    return this.started !== null;
  }

  get isComplete(): boolean {
    return this.finished !== null && this.failure === "";
  }

  get isMoved(): boolean {
    return (this.finished?.moves.length ?? 0) > 0;
  }

  /** Served by this edge when it began, and not at its end yet. */
  isMidwayAt(edge: string): boolean {
    return this.endedMs === 0 && this.started?.edge === edge && this.ids.length > 0;
  }

  get ttftMs(): number | null {
    const [first] = this.tokenMs;
    return first === undefined ? null : first - this.openedMs;
  }

  /** When the next token (or the end) came after position `at`. */
  afterMs(at: number): number {
    return this.tokenMs[at] ?? this.endedMs;
  }
}
