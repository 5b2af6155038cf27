// Counts how many examples a version answers exactly, through the very path by which callers are
// served: the same engine, the same chat prompt, behind the same admission, at batch priority.
import { randomUUID } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { asFault, Fault } from "../../proto/fault.ts";
import {
  type GenerateRequest,
  GenerateRequestSchema,
  type GenerateResponse,
  Priority,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { InferenceBackend } from "../../runtime/inference/backend.ts";

export interface ExactMatchOptions {
  readonly backend: Pick<InferenceBackend, "generate">;
  readonly model: string;
  readonly version: string;
  /** Examples asked at the same time. */
  readonly width: number;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

export interface Question {
  readonly prompt: string;
  readonly completion: string;
}

/** Tries of one example, the first included: a busy or restarted engine gets another chance. */
const TRIES_MAX = 60;
const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 2000;
/** Beyond the bytes of the expected text: its end, and tokens without text. */
const SPARE_TOKENS = 8;

/** Faults: what no retry mends, and `cancelled`. */
export async function countExact(
  questions: readonly Question[],
  options: ExactMatchOptions,
): Promise<number> {
  let exact = 0;
  let next = 0;
  const worker = async () => {
    for (let at = next++; at < questions.length; at = next++) {
      if (await isExactWithRetries(questions[at]!, options)) exact++;
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, options.width) }, worker));
  return exact;
}

async function isExactWithRetries(
  question: Question,
  options: ExactMatchOptions,
): Promise<boolean> {
  for (let tries = 1; ; tries++) {
    try {
      return await isExact(question, options);
    } catch (thrown) {
      const fault = asFault(thrown);
      if (!fault.retriable || tries >= TRIES_MAX) throw fault;
      const delayMs = Math.min(Math.max(fault.retryAfterMs, RETRY_MIN_MS), RETRY_MAX_MS);
      await wait(delayMs, options);
    }
  }
}

async function isExact(question: Question, options: ExactMatchOptions): Promise<boolean> {
  const expected = question.completion;
  const wrong = new AbortController();
  let text = "";
  const onEvent = ({ event }: GenerateResponse) => {
    if (event.case !== "tokens" && event.case !== "finished") return;
    text += event.value.text;
    if (!expected.startsWith(text)) wrong.abort(); // nothing that follows can mend it
  };
  const context = {
    signal: AbortSignal.any([options.signal, wrong.signal]),
    requestId: randomUUID(),
    visitedRegions: [],
    deadlineMs: Number.POSITIVE_INFINITY,
  };
  try {
    await options.backend.generate(requestOf(question, options), context, onEvent);
  } catch (thrown) {
    if (!wrong.signal.aborted || options.signal.aborted) throw thrown;
  }
  return text === expected;
}

function requestOf(question: Question, { model, version }: ExactMatchOptions): GenerateRequest {
  return create(GenerateRequestSchema, {
    model,
    version,
    prompt: {
      case: "chat",
      value: { messages: [{ role: "user", content: question.prompt }] },
    },
    maxTokens: Buffer.byteLength(question.completion) + SPARE_TOKENS,
    sampling: { temperature: 0 },
    priority: Priority.BATCH,
  });
}

function wait(delayMs: number, { clock, signal }: ExactMatchOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(delayMs, () => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    });
    const onAbort = () => {
      timer.cancel();
      reject(new Fault("cancelled", "the evaluation was stopped"));
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  });
}
