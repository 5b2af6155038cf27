// Measures exact match on the artifact that is served: a quantized file, perhaps with an adapter,
// through the real engine, with the chat template that the file carries, at temperature 0.

import { getLlama, type Llama, LlamaLogLevel, type Token } from "node-llama-cpp";
import { createPromptReader } from "../../edge-node/engine/llama/prompt-reader.ts";
import type { CommandExample } from "./command-grammar.ts";

const CONTEXT_TOKENS = 256;
const ANSWER_TOKENS_MAX = 80;

export interface ServedModel {
  readonly modelPath: string;
  /** GGUF LoRA adapters on top. */
  readonly adapterPaths?: readonly string[];
  readonly threads?: number;
}

/** Opens the engine's library; one will do for many evaluations. */
export function openEngineLibrary(threads = 1): Promise<Llama> {
  return getLlama({
    gpu: false,
    build: "never",
    logLevel: LlamaLogLevel.error,
    maxThreads: threads,
  });
}

/** The share of examples, per set, that the served model answers exactly (but for outer space). */
export async function exactMatch<Name extends string>(
  llama: Llama,
  { modelPath, adapterPaths = [], threads = 1 }: ServedModel,
  sets: Readonly<Record<Name, readonly CommandExample[]>>,
  onMistake: (expected: CommandExample, answer: string) => void = () => {},
): Promise<Record<Name, number>> {
  const model = await llama.loadModel({ modelPath, gpuLayers: 0 });
  const adapters = adapterPaths.map((filePath) => ({ filePath, scale: 1 }));
  const context = await model.createContext({
    contextSize: CONTEXT_TOKENS,
    threads,
    ...(adapters.length > 0 ? { lora: { adapters } } : {}),
  });
  const sequence = context.getSequence();
  const reader = createPromptReader(model, CONTEXT_TOKENS);
  const shares = {} as Record<Name, number>;
  for (const name of Object.keys(sets) as Name[]) {
    let exact = 0;
    for (const wanted of sets[name]) {
      await sequence.clearHistory();
      const messages = [{ role: "user" as const, content: wanted.prompt }];
      const prompt = reader.read({ kind: "chat", messages }) as Token[];
      const tokens: Token[] = [];
      for await (const token of sequence.evaluate(prompt, { temperature: 0 })) {
        if (model.isEogToken(token) || tokens.length >= ANSWER_TOKENS_MAX) break;
        tokens.push(token);
      }
      const answer = model.detokenize(tokens);
      if (answer.trim() === wanted.completion.trim()) exact++;
      else onMistake(wanted, answer);
    }
    shares[name] = exact / sets[name].length;
  }
  await context.dispose();
  await model.dispose();
  return shares;
}
