// One completion as an async iterable: events are pushed in by the stream and pulled by the caller,
// with a bounded queue between them.
import { asFault, Fault } from "../proto/fault.ts";
import type { GenerateResponse } from "../proto/gen/isthmus/v1/inference_pb.ts";

/** Events that may wait for a slow reader before the stream is given up. */
export const QUEUED_EVENTS_MAX = 8192;

/** Events of one completion, in order; throws a Fault where the stream ended unfinished. */
export interface Generation extends AsyncIterable<GenerateResponse> {
  /** Stops generation; the iteration ends with a `cancelled` fault. */
  cancel(): void;
}

type Run = (onEvent: (event: GenerateResponse) => void, signal: AbortSignal) => Promise<void>;

export function startGeneration(run: Run, outer?: AbortSignal): Generation {
  const abort = new AbortController();
  const signal = outer === undefined ? abort.signal : AbortSignal.any([outer, abort.signal]);
  const queue: GenerateResponse[] = [];
  let end: { fault: Fault | null } | null = null;
  let wake: (() => void) | null = null;
  const notify = () => {
    wake?.();
    wake = null;
  };
  const onEvent = (event: GenerateResponse) => {
    if (queue.length >= QUEUED_EVENTS_MAX) {
      const message = `The reader is ${QUEUED_EVENTS_MAX} events behind; read faster.`;
      throw new Fault("slow-consumer", message, { stage: "interrupted" });
    }
    queue.push(event);
    notify();
  };
  run(onEvent, signal).then(
    () => {
      end = { fault: null };
      notify();
    },
    (thrown: unknown) => {
      end = { fault: asFault(thrown) };
      notify();
    },
  );
  async function* read(): AsyncGenerator<GenerateResponse, void, undefined> {
    try {
      for (;;) {
        const event = queue.shift();
        if (event !== undefined) {
          yield event;
          continue;
        }
        if (end !== null) {
          if (end.fault !== null) throw end.fault;
          return;
        }
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    } finally {
      abort.abort();
    }
  }
  return { cancel: () => abort.abort(), [Symbol.asyncIterator]: read };
}
