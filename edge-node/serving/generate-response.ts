// What callers are told of each thing that the engine does. Made for every token: plain objects
// of the generated shapes, without going through create().
import {
  FinishReason,
  type GenerateResponse,
  type TokenLogprob as TokenLogprobMessage,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { GenerateEvent, TokenLogprob } from "../engine/engine.ts";

/** Who serves; named in `started`. */
export interface ServedBy {
  readonly model: string;
  readonly version: string;
  readonly edge: string;
  readonly region: string;
}

export function toGenerateResponse(event: GenerateEvent, by: ServedBy): GenerateResponse {
  return { $typeName: "isthmus.v1.GenerateResponse", event: toEvent(event, by) };
}

function toEvent(event: GenerateEvent, by: ServedBy): GenerateResponse["event"] {
  switch (event.kind) {
    case "started":
      return {
        case: "started",
        value: {
          $typeName: "isthmus.v1.Started",
          ...by,
          promptTokens: event.promptTokens,
          cachedTokens: event.cachedTokens,
        },
      };
    case "tokens":
      return {
        case: "tokens",
        value: {
          $typeName: "isthmus.v1.Tokens",
          index: event.index,
          ids: event.ids.slice(),
          text: event.text,
          logprobs: event.logprobs === null ? [] : event.logprobs.map(toLogprob),
        },
      };
    case "finished":
      return {
        case: "finished",
        value: {
          $typeName: "isthmus.v1.Finished",
          reason: event.reason === "stop" ? FinishReason.STOP : FinishReason.LENGTH,
          stopSequence: event.stopSequence ?? "",
          promptTokens: event.promptTokens,
          completionTokens: event.completionTokens,
          cachedTokens: event.cachedTokens,
          moves: [],
          hedges: 0,
          hedgedTokens: 0,
          text: event.text,
        },
      };
  }
}

function toLogprob({ id, text, logprob, top }: TokenLogprob): TokenLogprobMessage {
  return {
    $typeName: "isthmus.v1.TokenLogprob",
    id,
    text,
    logprob,
    top: top.map((other) => ({ $typeName: "isthmus.v1.TopLogprob", ...other })),
  };
}
