// What is known of one choice while and after it is made.
import type { Finished, Started } from "../../../proto/gen/isthmus/v1/inference_pb.ts";

/**
 * Where a choice was made; in answers as the field `isthmus`, which SDKs ignore. `edge`, `region`
 * and `version` are where it began, `moves` where it went on. Each choice has its own: a streamed
 * one in the chunk that ends it, one of a whole answer beside its message when there are several.
 * The field of the whole answer itself is that of its first choice.
 */
export interface Provenance {
  readonly edge: string;
  readonly region: string;
  readonly version: string;
  readonly moves: readonly object[];
  /** Second edges that were started because the first was late, and the tokens they lost. */
  readonly hedges: number;
  readonly hedged_tokens: number;
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
    moves: (finished?.moves ?? []).map((move) => ({
      at_token: move.atToken,
      from_edge: move.fromEdge,
      to_edge: move.toEdge,
      from_region: move.fromRegion,
      to_region: move.toRegion,
      cause: move.cause,
    })),
    hedges: finished?.hedges ?? 0,
    hedged_tokens: finished?.hedgedTokens ?? 0,
  };
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
