// Answers a completion request as server-sent events.
import type { GenerateResponse, Tokens } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { type ChoiceRecord, finishReasonOf, provenanceOf, usageOf } from "./choice-record.ts";
import type { CompletionPlan } from "./completion-plan.ts";
import type { CompletionShape } from "./completion-shape.ts";
import type { ErrorBody } from "./error-answer.ts";
import type { EventStream } from "./event-stream.ts";

export interface CompletionStream {
  take(choice: number, event: GenerateResponse): void;
  /** The proper end. Requires: every choice is finished. */
  end(): void;
  /** Tells the fault and ends without [DONE]: what was cut is never presented as finished. */
  fail(body: ErrorBody): void;
  /** Whether the answer has begun, so that its status can't be changed any more. */
  readonly begun: boolean;
}

interface StreamedChoice extends ChoiceRecord {
  readonly head: string;
  textLength: number;
}

/** `begin` is called at the first event, so that a request refused before it gets a status. */
export function createCompletionStream(
  plan: CompletionPlan,
  shape: CompletionShape,
  id: string,
  createdS: number,
  begin: () => EventStream,
): CompletionStream {
  const choices: StreamedChoice[] = plan.requests.map((_, index) => ({
    started: null,
    finished: null,
    head: shape.head(index),
    textLength: 0,
  }));
  const plainTail = shape.tail("null");
  const usageOfChunk = plan.includeUsage ? ',"usage":null' : "";
  let stream: EventStream | null = null;
  let envelope = "";

  const chunk = (choice: string, extra = ""): void =>
    stream?.send(`${envelope}[${choice}]${usageOfChunk}${extra}}`);

  const sendText = (choice: StreamedChoice, tokens: Pick<Tokens, "text" | "logprobs">): void => {
    const { text, logprobs } = tokens;
    const told = plan.logprobs && logprobs.length > 0;
    if (text === "" && !told) return;
    const tail = told
      ? shape.tail(JSON.stringify(shape.logprobs(logprobs, choice.textLength)))
      : plainTail;
    choice.textLength += text.length;
    chunk(choice.head + JSON.stringify(text) + tail);
  };

  return {
    get begun() {
      return stream !== null;
    },
    take(index, { event }) {
      const choice = choices[index]!;
      if (stream === null) {
        stream = begin();
        const version = event.case === "started" ? event.value.version : "";
        envelope = envelopeOf(plan, shape, id, createdS, version);
      }
      if (event.case === "started") {
        choice.started = event.value;
        const opening = shape.opening(index);
        if (opening !== null) chunk(opening);
      } else if (event.case === "tokens") {
        sendText(choice, event.value);
      } else if (event.case === "finished") {
        choice.finished = event.value;
        sendText(choice, { text: event.value.text, logprobs: [] });
        const extra = `,"isthmus":${JSON.stringify(provenanceOf(choice))}`;
        chunk(shape.closing(index, finishReasonOf(event.value)), extra);
      }
    },
    end() {
      const missing = choices.findIndex(({ finished }) => finished === null);
      if (missing >= 0) throw new TypeError(`choice ${missing} has no end`);
      if (plan.includeUsage) {
        const usage = JSON.stringify(usageOf(choices, plan.n));
        stream?.send(`${envelope}[],"usage":${usage}}`);
      }
      stream?.send("[DONE]");
      stream?.end();
    },
    fail(body) {
      stream?.send(JSON.stringify(body));
      stream?.end();
    },
  };
}

/** All that comes before the choices of a chunk, the same in every one. */
function envelopeOf(
  plan: CompletionPlan,
  shape: CompletionShape,
  id: string,
  created: number,
  version: string,
): string {
  const fields = {
    id: shape.idPrefix + id,
    object: shape.chunkObject,
    created,
    model: plan.model,
    system_fingerprint: version || null,
  };
  return `${JSON.stringify(fields).slice(0, -1)},"choices":`;
}
