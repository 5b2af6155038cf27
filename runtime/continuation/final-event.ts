// The last event of a stream that several sources made: usage counted once, every move and every
// hedge told.
import { create } from "@bufbuild/protobuf";
import {
  type Finished,
  type GenerateResponse,
  GenerateResponseSchema,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { StreamState } from "./stream-state.ts";

/**
 * `end` is what the last source said and `response` the event it came in, passed on as it is when
 * it tells the whole story; `text` is the part of its text that is new.
 */
export function finalEvent(
  state: StreamState,
  response: GenerateResponse,
  end: Finished,
  text: string,
): GenerateResponse {
  const { moves, hedges, hedgedTokens, started } = state;
  const completionTokens = state.delivery.ids.length;
  const untouched =
    moves.length === 0 &&
    hedges === 0 &&
    end.completionTokens === completionTokens &&
    text.length === end.text.length;
  if (untouched) return response;
  return create(GenerateResponseSchema, {
    event: {
      case: "finished",
      value: {
        ...end,
        text,
        completionTokens,
        promptTokens: started?.promptTokens ?? end.promptTokens,
        cachedTokens: started?.cachedTokens ?? end.cachedTokens,
        moves: [...moves, ...end.moves].sort((a, b) => a.atToken - b.atToken),
        hedges: hedges + end.hedges,
        hedgedTokens: hedgedTokens + end.hedgedTokens,
      },
    },
  });
}
