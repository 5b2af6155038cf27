// What a job becomes before it gets a sequence: its prompt as tokens, the completion brought to
// where it was left, and the grammar that restricts it.
import { LlamaGrammarEvaluationState } from "node-llama-cpp";
import { Fault } from "../../../proto/fault.ts";
import { Completion } from "../completion.ts";
import type { GenerateJob } from "../engine.ts";
import { replayGrammar } from "./internals.ts";
import type { ModelHost } from "./model-host.ts";
import { contextExceeded } from "./prompt-reader.ts";

export interface Generation {
  readonly job: GenerateJob;
  readonly completion: Completion;
  /** Prompt and resumed ids. */
  readonly tokens: readonly number[];
  readonly promptTokens: number;
  readonly grammar: LlamaGrammarEvaluationState | null;
  textOf(id: number): string;
}

/** Faults: invalid-argument, context-length-exceeded, unsupported. Requires: a checked job. */
export async function prepareGeneration(host: ModelHost, job: GenerateJob): Promise<Generation> {
  const prompt = host.prompts.read(job.prompt);
  const resumed = job.resume?.tokens ?? [];
  host.prompts.checkVocabulary(resumed);
  if (prompt.length >= host.contextSize) throw contextExceeded(host.contextSize);
  const fits = host.contextSize - prompt.length;
  const tokensMax = job.maxTokens === 0 ? fits : Math.min(job.maxTokens, fits);
  const vocabulary = {
    pieceOf: host.pieces.pieceOf,
    endsGeneration: (token: number) => host.model.isEogToken(token as never),
  };
  const completion = new Completion({ tokensMax, stop: job.stop }, vocabulary, job.resume);
  const decoder = new TextDecoder();
  return {
    job,
    completion,
    tokens: [...prompt, ...resumed],
    promptTokens: prompt.length,
    grammar: completion.resumedEnd === null ? await openGrammar(host, job) : null,
    textOf: (token) => decoder.decode(host.pieces.pieceOf(token)),
  };
}

async function openGrammar(
  host: ModelHost,
  job: GenerateJob,
): Promise<LlamaGrammarEvaluationState | null> {
  if (job.constraint === null) return null;
  const grammar = await host.grammars.compile(job.constraint);
  const state = new LlamaGrammarEvaluationState({ model: host.model, grammar });
  const replay = replayGrammar(host.model, state, job.resume?.tokens ?? []);
  if (replay === "replayed") return state;
  if (replay === "unsupported") {
    throw new Fault("unsupported", "a constrained completion can't be resumed here");
  }
  const message = "the resumed ids do not follow the constraint";
  throw new Fault("invalid-argument", message, { param: "resume.ids" });
}
