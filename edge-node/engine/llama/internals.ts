// The few places where node-llama-cpp's private parts are used, each behind a check that they are
// there: a newer release without them costs speed or one feature, never correctness.
import type {
  LlamaContextSequence,
  LlamaGrammarEvaluationState,
  LlamaModel,
  Token,
} from "node-llama-cpp";

interface CopyingSequence {
  _copyStateFromOtherSequence?(source: LlamaContextSequence, tokens: number): Promise<boolean>;
}

/** Copies the state of the first `tokens` tokens; false when it can't be done or wasn't exact. */
export async function copyState(
  target: LlamaContextSequence,
  source: LlamaContextSequence,
  tokens: number,
): Promise<boolean> {
  const copying = target as unknown as CopyingSequence;
  if (typeof copying._copyStateFromOtherSequence !== "function") return false;
  return copying._copyStateFromOtherSequence(source, tokens);
}

interface GrammarBindings {
  AddonSampler: {
    acceptGrammarEvaluationStateToken(state: unknown, token: Token): void;
    canBeNextTokenForGrammarEvaluationState(state: unknown, token: Token): boolean;
  };
}

/** Moves a grammar over tokens that were generated before. "refused": they don't follow it. */
export function replayGrammar(
  model: LlamaModel,
  state: LlamaGrammarEvaluationState,
  tokens: readonly number[],
): "replayed" | "refused" | "unsupported" {
  const native = (state as unknown as { _state?: unknown })._state;
  const bindings = (model.llama as unknown as { _bindings?: GrammarBindings })._bindings;
  const sampler = bindings?.AddonSampler;
  if (native === undefined || typeof sampler?.acceptGrammarEvaluationStateToken !== "function") {
    return tokens.length === 0 ? "replayed" : "unsupported";
  }
  for (const id of tokens) {
    const token = id as Token;
    if (!sampler.canBeNextTokenForGrammarEvaluationState(native, token)) return "refused";
    sampler.acceptGrammarEvaluationStateToken(native, token);
  }
  return "replayed";
}
