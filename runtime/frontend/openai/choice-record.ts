// What is known of one choice while and after it is made.
import {
  type Finished,
  FinishReason,
  type Started,
} from "../../../proto/gen/isthmus/v1/inference_pb.ts";

/** Where a choice was made; in answers as the field `isthmus`, which SDKs ignore. */
export interface Provenance {
  readonly edge: string;
  readonly region: string;
  readonly version: string;
  readonly moves: readonly object[];
}

export interface ChoiceRecord {
  started: Started | null;
  finished: Finished | null;
}

export function provenanceOf({ started, finished }: ChoiceRecord): Provenance {
  return {
    edge: started?.edge ?? "",
    region: started?.region ?? "",
    version: started?.version ?? "",
    moves: (finished?.moves ?? []).map(({ atToken, fromEdge, toEdge, cause }) => ({
      at_token: atToken,
      from_edge: fromEdge,
      to_edge: toEdge,
      cause,
    })),
  };
}

export function finishReasonOf(finished: Finished): string {
  return finished.reason === FinishReason.LENGTH ? "length" : "stop";
}

/** Usage of a whole answer: each prompt counts once, however many choices it has. */
export function usageOf(choices: readonly ChoiceRecord[], n: number) {
  let promptTokens = 0;
  let cachedTokens = 0;
  let completionTokens = 0;
  for (const [index, { finished }] of choices.entries()) {
    completionTokens += finished?.completionTokens ?? 0;
    if (index % n !== 0) continue;
    promptTokens += finished?.promptTokens ?? 0;
    cachedTokens += finished?.cachedTokens ?? 0;
  }
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
  };
}
