// Answers a completion request in one JSON body.
import type { GenerateResponse, TokenLogprob } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import type { ToolPiece } from "../../tools/tool-call-parser.ts";
import { type ChoiceRecord, provenanceOf, usageOf } from "./choice-record.ts";
import { type ChoiceText, createChoiceText, toolCallId } from "./choice-text.ts";
import type { CompletionPlan } from "./completion-plan.ts";
import type { CompletionShape } from "./completion-shape.ts";

interface GatheredChoice extends ChoiceRecord {
  readonly said: ChoiceText;
  text: string;
  readonly calls: { readonly name: string; text: string }[];
  readonly logprobs: TokenLogprob[];
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
    said: createChoiceText(plan.tools),
    text: "",
    calls: [],
    logprobs: [],
  }));
  const choiceBody = (choice: GatheredChoice, index: number, id: string): object => {
    const { said, text, calls, logprobs, finished } = choice;
    if (finished === null) throw new TypeError(`choice ${index} has no end`);
    const body = shape.choice(index, {
      text,
      calls: calls.map(({ name, text: written }, call) => ({
        id: toolCallId(id, index, call),
        name,
        arguments: written,
      })),
      finishReason: said.finishReason(finished.reason),
      logprobs: plan.logprobs ? shape.logprobs(logprobs, 0) : null,
    });
    return choices.length === 1 ? body : { ...body, isthmus: provenanceOf(choice) };
  };
  return {
    take(index, { event }) {
      const choice = choices[index]!;
      if (event.case === "started") choice.started = event.value;
      if (event.case === "tokens") {
        gather(choice, choice.said.push(event.value.text));
        if (plan.logprobs) choice.logprobs.push(...event.value.logprobs);
      }
      if (event.case === "finished") {
        gather(choice, choice.said.push(event.value.text));
        gather(choice, choice.said.end());
        choice.finished = event.value;
      }
    },
    answer: (id, createdS) => ({
      id: shape.idPrefix + id,
      object: shape.object,
      created: createdS,
      model: plan.model,
      system_fingerprint: choices[0]?.started?.version || null,
      choices: choices.map((choice, index) => choiceBody(choice, index, id)),
      usage: usageOf(choices, plan.n),
      isthmus: provenanceOf(choices[0]!),
    }),
  };
}

function gather(choice: GatheredChoice, pieces: readonly ToolPiece[]): void {
  for (const piece of pieces) {
    if (piece.kind === "text") choice.text += piece.text;
    if (piece.kind === "call") choice.calls.push({ name: piece.name, text: "" });
    if (piece.kind === "arguments") choice.calls[piece.call]!.text += piece.text;
  }
}
