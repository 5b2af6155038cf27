// Answers a completion request as server-sent events.
import type { GenerateResponse, Tokens } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import type { ToolPiece } from "../../tools/tool-call-parser.ts";
import { type ChoiceRecord, provenanceOf, usageOf } from "./choice-record.ts";
import { type ChoiceText, createChoiceText, toolCallId } from "./choice-text.ts";
import type { CompletionPlan } from "./completion-plan.ts";
import type { CompletionShape } from "./completion-shape.ts";
import type { ErrorBody } from "./error-answer.ts";
import type { EventStream } from "./event-stream.ts";

export interface CompletionStream {
  take(choice: number, event: GenerateResponse): void;
  /** To be called every so often: tells whoever waits in between that the answer is still made. */
  keepAlive(): void;
  /** The proper end. Requires: every choice is finished. */
  end(): void;
  /** Tells the fault and ends without [DONE]: what was cut is never presented as finished. */
  fail(body: ErrorBody): void;
  /** Whether the answer has begun, so that its status can't be changed any more. */
  readonly begun: boolean;
}

interface StreamedChoice extends ChoiceRecord {
  readonly index: number;
  readonly said: ChoiceText;
  readonly head: string;
  textLength: number;
}

export interface StreamOptions {
  readonly plan: CompletionPlan;
  readonly shape: CompletionShape;
  readonly id: string;
  readonly createdS: number;
  /** Called at the first event, so that a request refused before it gets a status. */
  readonly begin: () => EventStream;
}

export function createCompletionStream(options: StreamOptions): CompletionStream {
  return new ChunkStream(options);
}

class ChunkStream implements CompletionStream {
  readonly #options: StreamOptions;
  readonly #choices: readonly StreamedChoice[];
  readonly #plainTail: string;
  readonly #usage: string;
  #stream: EventStream | null = null;
  #envelope = "";

  constructor(options: StreamOptions) {
    const { plan, shape } = options;
    this.#options = options;
    this.#choices = plan.requests.map((_, index) => ({
      index,
      started: null,
      finished: null,
      said: createChoiceText(plan.tools),
      head: shape.head(index),
      textLength: 0,
    }));
    this.#plainTail = shape.tail("null");
    this.#usage = plan.includeUsage ? ',"usage":null' : "";
  }

  get begun(): boolean {
    return this.#stream !== null;
  }

  keepAlive(): void {
    this.#open().keepAlive();
  }

  take(index: number, { event }: GenerateResponse): void {
    const choice = this.#choices[index]!;
    if (this.#envelope === "") {
      const version = event.case === "started" ? event.value.version : "";
      this.#envelope = envelopeOf(this.#options, version);
    }
    if (event.case === "tokens") this.#tokens(choice, event.value);
    if (event.case === "started") {
      choice.started = event.value;
      const { plan, shape } = this.#options;
      const opening = shape.opening(index, plan.tools === null ? '""' : "null");
      if (opening !== null) this.#chunk(opening);
      else this.#open();
    }
    if (event.case === "finished") {
      choice.finished = event.value;
      this.#tokens(choice, { text: event.value.text, logprobs: [] });
      this.#pieces(choice, choice.said.end());
      const reason = choice.said.finishReason(event.value.reason);
      const extra = `,"isthmus":${JSON.stringify(provenanceOf(choice))}`;
      this.#chunk(this.#options.shape.closing(index, reason), extra);
    }
  }

  end(): void {
    const missing = this.#choices.findIndex(({ finished }) => finished === null);
    if (missing >= 0) throw new TypeError(`choice ${missing} has no end`);
    const { plan } = this.#options;
    if (plan.includeUsage) {
      const usage = JSON.stringify(usageOf(this.#choices, plan.n));
      this.#stream?.send(`${this.#envelope}[],"usage":${usage}}`);
    }
    this.#stream?.send("[DONE]");
    this.#stream?.end();
  }

  fail(body: ErrorBody): void {
    this.#stream?.send(JSON.stringify(body));
    this.#stream?.end();
  }

  #open(): EventStream {
    this.#stream ??= this.#options.begin();
    return this.#stream;
  }

  #chunk(choice: string, extra = ""): void {
    this.#open().send(`${this.#envelope}[${choice}]${this.#usage}${extra}}`);
  }

  /** Probabilities go with what is just text, else ahead of what it turns out to be. */
  #tokens(choice: StreamedChoice, { text, logprobs }: Pick<Tokens, "text" | "logprobs">): void {
    const { plan, shape } = this.#options;
    const told = plan.logprobs && logprobs.length > 0;
    if (told) {
      const tail = shape.tail(JSON.stringify(shape.logprobs(logprobs, choice.textLength)));
      this.#text(choice, plan.tools === null ? text : "", tail);
    }
    choice.textLength += text.length;
    if (plan.tools !== null) this.#pieces(choice, choice.said.push(text));
    else if (text !== "" && !told) this.#text(choice, text, this.#plainTail);
  }

  #text(choice: StreamedChoice, text: string, tail: string): void {
    this.#chunk(choice.head + JSON.stringify(text) + tail);
  }

  #pieces(choice: StreamedChoice, pieces: readonly ToolPiece[]): void {
    const { shape, id } = this.#options;
    const { index } = choice;
    for (const piece of pieces) {
      if (piece.kind === "text") this.#text(choice, piece.text, this.#plainTail);
      if (piece.kind === "call") {
        const { call, name } = piece;
        this.#chunk(shape.call(index, { call, id: toolCallId(id, index, call), name }));
      }
      if (piece.kind === "arguments") {
        const written = JSON.stringify(piece.text);
        this.#chunk(shape.argumentsHead(index, piece.call) + written + shape.argumentsTail);
      }
    }
  }
}

/** All that comes before the choices of a chunk, the same in every one. */
function envelopeOf({ plan, shape, id, createdS }: StreamOptions, version: string): string {
  const fields = {
    id: shape.idPrefix + id,
    object: shape.chunkObject,
    created: createdS,
    model: plan.model,
    system_fingerprint: version || null,
  };
  return `${JSON.stringify(fields).slice(0, -1)},"choices":`;
}
