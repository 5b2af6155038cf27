// Callers that stream one answer after another until they are told to stop: through a gateway,
// through an edge, and through the SDK. A refusal before anything was delivered is tried again.
import { type CallSettings, connect, type MeshClient } from "../../client/index.ts";
import { asFault } from "../../proto/fault.ts";
import { type GenerateResponse, Inference } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import { createClient, messagesOf } from "../../runtime/grpc/bridge.ts";
import { openChannel } from "../../runtime/grpc/channel.ts";
import type { SeededRandom } from "../../sync/formats/seeded-random.ts";
import type { Question } from "./question.ts";
import { type Door, StreamLog } from "./stream-log.ts";

/** One that takes longer is stuck. */
export const REQUEST_MAX_MS = 60_000;
/** Between two requests of one caller, on average; keeps the engines short of full. */
const PAUSE_MEAN_MS = 60;
const REFUSALS_MAX = 40;
const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 2000;

export interface OpenDoor extends Disposable {
  readonly door: Door;
  open(question: Question): AsyncIterable<GenerateResponse>;
}

/** A plain gRPC caller of one gateway or edge; it dies with that. */
export function plainDoor(door: Door, address: string, clock: Clock): OpenDoor {
  const channel = openChannel(address);
  const client = createClient(Inference, channel);
  return {
    door,
    open({ request }) {
      const deadlineMs = clock.now() + REQUEST_MAX_MS;
      return messagesOf(client.generate(request, { deadlineMs }));
    },
    [Symbol.dispose]: () => channel.close(),
  };
}

/** A caller with the SDK, which finds its way by itself. */
export async function sdkDoor(name: string, seeds: readonly string[]): Promise<OpenDoor> {
  const client: MeshClient = await connect({ seeds });
  const settings: CallSettings = { timeoutMs: REQUEST_MAX_MS };
  return {
    door: { kind: "sdk", name },
    open: ({ request }) => client.generate(request, settings),
    [Symbol.dispose]: () => client.close(),
  };
}

export interface CallerOptions {
  readonly clock: Clock;
  readonly random: SeededRandom;
  readonly questions: readonly Question[];
  /** Streams under way end by themselves after it. */
  readonly stop: AbortSignal;
  readonly onOpen: (log: StreamLog) => void;
  /** It is being served now. */
  readonly onStart?: (log: StreamLog) => void;
  /** Complete or not, it is over. */
  readonly onEnd?: (log: StreamLog) => void;
  /** Between two requests of one caller, on average. */
  readonly pauseMeanMs?: number;
}

/** Streams until told to stop; returns when the last stream has ended. */
export async function callWithoutEnd(caller: OpenDoor, options: CallerOptions): Promise<void> {
  const { clock, random, questions, stop, pauseMeanMs = PAUSE_MEAN_MS } = options;
  while (!stop.aborted) {
    const log = new StreamLog(caller.door, random.pick(questions), clock.monotonicMs());
    options.onOpen(log);
    await ask(caller, log, options);
    options.onEnd?.(log);
    await pause(clock, -Math.log(1 - random.next()) * pauseMeanMs);
  }
}

/** One request: until it is complete, has failed midway, or was refused too often. */
async function ask(caller: OpenDoor, log: StreamLog, options: CallerOptions): Promise<void> {
  const { clock, stop } = options;
  for (let retryMs = RETRY_MIN_MS; ; retryMs = Math.min(2 * retryMs, RETRY_MAX_MS)) {
    try {
      if (log.door.kind !== "sdk") log.openedMs = clock.monotonicMs();
      for await (const event of caller.open(log.question)) {
        log.take(event, clock.monotonicMs());
        if (event.event.case === "started") options.onStart?.(log);
      }
      if (log.finished === null) log.fail("ended without its last event", clock.monotonicMs());
      return;
    } catch (thrown) {
      const { code, message, retriable, retryAfterMs } = asFault(thrown);
      const isOver = log.isAcknowledged || !retriable || log.refusals >= REFUSALS_MAX;
      if (isOver || stop.aborted) {
        log.fail(`${code}: ${message}`, clock.monotonicMs());
        return;
      }
      log.refusals += 1;
      await pause(clock, Math.max(retryMs, retryAfterMs));
    }
  }
}

export function pause(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => clock.after(ms, resolve));
}
