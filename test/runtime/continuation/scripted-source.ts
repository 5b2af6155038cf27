// A completion known in advance, and sources that tell it in batches until their script makes them
// fail. Text lags behind the ids by a few units, as when a stop sequence may be coming.
import { create } from "@bufbuild/protobuf";
import type { FaultCode } from "../../../proto/fault.ts";
import {
  FinishReason,
  type GenerateRequest,
  GenerateRequestSchema,
  type GenerateResponse,
  GenerateResponseSchema,
} from "../../../proto/gen/isthmus/v1/inference_pb.ts";

export interface Truth {
  readonly ids: readonly number[];
  readonly text: string;
  /** Text that is final once `k` ids are known. */
  readonly finalAfter: readonly number[];
}

/** How one source behaves. `overlap` starts that many ids early; `rewind` starts from nothing. */
export interface Script {
  readonly start: "resume" | "rewind" | { readonly overlap: number };
  readonly batch: number;
  /** Batches before the end. */
  readonly batches: number;
  readonly end: FaultCode | "finish" | "silent-end" | "gap" | "hang" | "early-finish";
}

export function truthOf(pieces: readonly string[], lag: number): Truth {
  const text = pieces.join("");
  const finalAfter = [0];
  let length = 0;
  for (const piece of pieces) {
    length += piece.length;
    finalAfter.push(Math.max(0, length - lag));
  }
  return { ids: pieces.map((_, k) => 100 + k), text, finalAfter };
}

export function promptRequest(resume?: GenerateRequest["resume"]): GenerateRequest {
  const base = { model: "m", prompt: { case: "text", value: "p" } } as const;
  return create(GenerateRequestSchema, resume === undefined ? base : { ...base, resume });
}

/** Everything that a source says for a request, before its script's end. */
export function* eventsOf(
  truth: Truth,
  script: Script,
  request: GenerateRequest,
  edge: string,
): Generator<GenerateResponse, void, undefined> {
  const known = request.resume?.ids.length ?? 0;
  let index = startIndex(script, known);
  let text = index === known ? (request.resume?.textLength ?? 0) : truth.finalAfter[index]!;
  yield started(edge);
  const whole = script.end === "finish";
  for (let n = 0; (whole || n < script.batches) && index < truth.ids.length; n += 1) {
    const end = Math.min(index + script.batch, truth.ids.length);
    const final = truth.finalAfter[end]!;
    yield tokens(index, truth.ids.slice(index, end), truth.text.slice(text, Math.max(text, final)));
    text = Math.max(text, final);
    index = end;
  }
  const skipped = Math.max(index, known) + 1;
  if (script.end === "gap" && skipped < truth.ids.length) {
    yield tokens(skipped, [truth.ids[skipped]!], "?");
  }
  if (whole || script.end === "early-finish") yield finished(truth.text.slice(text), index);
}

function startIndex(script: Script, known: number): number {
  if (script.start === "resume") return known;
  return script.start === "rewind" ? 0 : Math.max(0, known - script.start.overlap);
}

export function started(edge: string): GenerateResponse {
  return create(GenerateResponseSchema, {
    event: {
      case: "started",
      value: { model: "m", version: "m@1", edge, region: "us", promptTokens: 7, cachedTokens: 3 },
    },
  });
}

export function tokens(index: number, ids: readonly number[], text: string): GenerateResponse {
  return create(GenerateResponseSchema, {
    event: { case: "tokens", value: { index, ids: [...ids], text } },
  });
}

export function finished(text: string, completionTokens: number): GenerateResponse {
  return create(GenerateResponseSchema, {
    event: {
      case: "finished",
      value: { reason: FinishReason.STOP, text, completionTokens, promptTokens: 99 },
    },
  });
}

/** What a caller ends up with. */
export class Caller {
  readonly ids: number[] = [];
  text = "";
  started = 0;
  startedBy = "";
  finished: GenerateResponse["event"] | null = null;
  readonly trouble: string[] = [];

  readonly onEvent = ({ event }: GenerateResponse): void => {
    if (this.finished !== null) this.trouble.push("an event after finished");
    if (event.case === "started") {
      this.started += 1;
      this.startedBy = event.value.edge;
    } else if (this.started !== 1) this.trouble.push("an event before started");
    if (event.case === "tokens") {
      if (event.value.index !== this.ids.length) this.trouble.push("a wrong index");
      this.ids.push(...event.value.ids);
      this.text += event.value.text;
    }
    if (event.case === "finished") {
      this.text += event.value.text;
      this.finished = event;
    }
  };
}
