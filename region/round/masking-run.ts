// Carries one round's masking on: inputs go through the state machine one after another, what they
// change is on disk before anybody is asked anything, and each edge is asked until it has answered.
import { create, fromBinary, fromJson, type JsonValue, toBinary, toJson } from "@bufbuild/protobuf";
import { Fault } from "../../proto/fault.ts";
import {
  MaskCommandSchema,
  MaskKeysSchema,
  type MaskReply,
  MaskReplySchema,
  MaskSharesSchema,
  UnmaskSharesSchema,
} from "../../proto/gen/isthmus/v1/secagg_pb.ts";
import { edgeId, regionId } from "../../proto/ids.ts";
import { subjects } from "../../proto/subjects.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { NatsLink } from "../../runtime/nats/connection.ts";
import { pause } from "../../sync/artifact/pause.ts";
import type { MaskIdentity } from "../../sync/secagg/mask-keys.ts";
import {
  asksOf,
  type MaskingInput,
  type MaskingState,
  type MaskingStep,
  startMasking,
  stepMasking,
} from "../../sync/secagg/masking-collector.ts";
import type { Fence } from "../lease/fence.ts";
import { EventLog } from "./event-log.ts";

const ANSWER_MAX_MS = 2_000;
const RETRY_MS = 250;

export interface MaskingRunOptions {
  readonly nats: Pick<NatsLink, "request">;
  readonly clock: Clock;
  readonly fence?: Fence;
}

export class MaskingRun {
  readonly #log: EventLog;
  readonly #options: MaskingRunOptions;
  readonly #ended = new AbortController();
  readonly #asking = new Set<string>();
  readonly #waiting = new Set<() => void>();
  #state: MaskingState;
  #tail: Promise<unknown> = Promise.resolve();

  private constructor(log: EventLog, state: MaskingState, options: MaskingRunOptions) {
    this.#log = log;
    this.#state = state;
    this.#options = options;
  }

  /** Takes the round up where its log stands, or at its beginning. */
  static async open(
    path: string,
    place: Omit<MaskIdentity, "edge">,
    options: MaskingRunOptions,
  ): Promise<MaskingRun> {
    const { log, records } = await EventLog.open(path, options.fence);
    const state = records.reduce<MaskingState>((before, record) => {
      const { atMs, input } = decodeRecord(record);
      return stepMasking(before, input, atMs);
    }, startMasking(place));
    const run = new MaskingRun(log, state, options);
    if (records.length > 0) await run.input({ kind: "resumed" });
    return run;
  }

  get state(): MaskingState {
    return this.#state;
  }

  /** Takes an input in its turn; durable once it resolves. */
  input(input: MaskingInput): Promise<void> {
    const done = this.#tail.then(() => this.#take(input));
    this.#tail = done.catch(() => {});
    return done;
  }

  /** Resolves once the masks can be taken off. Faults: `failed-precondition` when they can't. */
  async opened(): Promise<MaskingState> {
    while (this.#state.phase !== "open") {
      const { phase, reason } = this.#state;
      if (phase === "failed") throw new Fault("failed-precondition", reason);
      if (this.#ended.signal.aborted) throw new Fault("cancelled", "the region is stopping");
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
    return this.#state;
  }

  async close(): Promise<void> {
    this.#ended.abort();
    this.#wake();
    await this.#tail;
    await this.#log.close();
  }

  async #take(input: MaskingInput): Promise<void> {
    const nowMs = this.#options.clock.now();
    const next = stepMasking(this.#state, input, nowMs);
    if (next !== this.#state) {
      await this.#log.append([encodeRecord(input, nowMs)]);
      this.#state = next;
      this.#wake();
    }
    this.#pursue();
  }

  #wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const resolve of waiting) resolve();
  }

  #pursue(): void {
    if (this.#ended.signal.aborted) return;
    for (const [edge, step] of asksOf(this.#state)) {
      const key = `${step.case} ${edge}`;
      if (this.#asking.has(key)) continue;
      this.#asking.add(key);
      void this.#ask(edge, step).finally(() => this.#asking.delete(key));
    }
  }

  /** Asks until the state no longer wants the answer. Never rejects. */
  async #ask(edge: string, step: MaskingStep): Promise<void> {
    const { nats, clock } = this.#options;
    const { campaign, round, region } = this.#state.place;
    const subject = subjects.mask(regionId(region), edgeId(edge));
    const command = create(MaskCommandSchema, { campaign, round, step });
    const body = toBinary(MaskCommandSchema, command);
    const { signal } = this.#ended;
    const isWanted = () => !signal.aborted && asksOf(this.#state).get(edge)?.case === step.case;
    while (isWanted()) {
      try {
        const reply = fromBinary(MaskReplySchema, await nats.request(subject, body, ANSWER_MAX_MS));
        if (!signal.aborted) await this.input(inputOf(edge, step, reply));
      } catch {
        // A lost answer is asked for again, and a log that can't be written takes nothing more.
        await pause(clock, RETRY_MS, signal).catch(() => {});
      }
    }
  }
}

function inputOf(edge: string, step: MaskingStep, reply: MaskReply): MaskingInput {
  const { keys, shares, unmask, refused } = reply;
  if (refused !== "") return { kind: "refused", edge, reason: refused.slice(0, 200) };
  if (step.case === "join" && keys) return { kind: "keys", edge, keys };
  if (step.case === "roster" && shares) return { kind: "shares", edge, shares };
  if (step.case === "unmask" && unmask) return { kind: "opened", edge, shares: unmask };
  if (step.case === "inbox") return { kind: "agreed", edge };
  return { kind: "refused", edge, reason: "its answer is empty" };
}

function encodeRecord(input: MaskingInput, atMs: number): JsonValue {
  switch (input.kind) {
    case "keys":
      return { atMs, input: { ...input, keys: toJson(MaskKeysSchema, input.keys) } };
    case "shares":
      return { atMs, input: { ...input, shares: toJson(MaskSharesSchema, input.shares) } };
    case "opened":
      return { atMs, input: { ...input, shares: toJson(UnmaskSharesSchema, input.shares) } };
    case "open":
      return { atMs, input: { ...input, edges: [...input.edges] } };
    case "close":
      return { atMs, input: { ...input, included: [...input.included] } };
    default:
      return { atMs, input: { ...input } };
  }
}

/** Requires a record that `encodeRecord` made: the log's checksums vouch for it. */
function decodeRecord(record: unknown): { readonly atMs: number; readonly input: MaskingInput } {
  const { atMs, input } = record as { readonly atMs: number; readonly input: MaskingInput };
  const json = input as unknown as Record<string, JsonValue>;
  switch (input.kind) {
    case "keys":
      return { atMs, input: { ...input, keys: fromJson(MaskKeysSchema, json.keys!) } };
    case "shares":
      return { atMs, input: { ...input, shares: fromJson(MaskSharesSchema, json.shares!) } };
    case "opened":
      return { atMs, input: { ...input, shares: fromJson(UnmaskSharesSchema, json.shares!) } };
    default:
      return { atMs, input };
  }
}
