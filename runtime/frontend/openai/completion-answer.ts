// Answers a completion request in one JSON body.
import type { GenerateResponse, TokenLogprob } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { type ChoiceRecord, finishReasonOf, provenanceOf, usageOf } from "./choice-record.ts";
import type { CompletionPlan } from "./completion-plan.ts";
import type { CompletionShape } from "./completion-shape.ts";

interface GatheredChoice extends ChoiceRecord {
  text: string;
  logprobs: TokenLogprob[];
}

export interface AnswerGatherer {
  take(choice: number, event: GenerateResponse): void;
  /** The body. Requires: every choice is finished. */
  answer(id: string, createdS: number): object;
}

export function createAnswerGatherer(plan: CompletionPlan, shape: CompletionShape): AnswerGatherer {
  const choices: GatheredChoice[] = plan.requests.map(() => ({
    started: null,
    finished: null,
    text: "",
    logprobs: [],
  }));
  return {
    take(index, { event }) {
      const choice = choices[index]!;
      if (event.case === "started") choice.started = event.value;
      if (event.case === "tokens") {
        choice.text += event.value.text;
        if (plan.logprobs) choice.logprobs.push(...event.value.logprobs);
      }
      if (event.case === "finished") {
        choice.text += event.value.text;
        choice.finished = event.value;
      }
    },
    answer: (id, createdS) => ({
      id: shape.idPrefix + id,
      object: shape.object,
      created: createdS,
      model: plan.model,
      system_fingerprint: choices[0]?.started?.version || null,
      choices: choices.map((choice, index) => {
        const { text, logprobs, finished } = choice;
        if (finished === null) throw new TypeError(`choice ${index} has no end`);
        const told = plan.logprobs ? shape.logprobs(logprobs, 0) : null;
        const body = shape.choice(index, text, finishReasonOf(finished), told);
        return choices.length === 1 ? body : { ...body, isthmus: provenanceOf(choice) };
      }),
      usage: usageOf(choices, plan.n),
      isthmus: provenanceOf(choices[0]!),
    }),
  };
}
