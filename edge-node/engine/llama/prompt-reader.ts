// Turns prompts into token ids the way the model's own tokenizer and chat template want it.
import type { LlamaModel, Token } from "node-llama-cpp";
import { Fault } from "../../../proto/fault.ts";
import type { EnginePrompt } from "../engine.ts";
import { createChatPrompt } from "./chat-prompt.ts";

export interface PromptReader {
  /**
   * Special tokens are read from a text prompt and from the chat template, never from the
   * contents of messages.
   * Faults: invalid-argument; context-length-exceeded for what can't possibly fit.
   */
  read(prompt: EnginePrompt): number[];
  /** Faults: invalid-argument for ids outside of the vocabulary. */
  checkVocabulary(ids: readonly number[]): void;
  readonly vocabularySize: number;
}

export function createPromptReader(model: LlamaModel, contextSize: number): PromptReader {
  const metadata = model.fileInfo.metadata.tokenizer;
  const texts = metadata?.ggml?.tokens ?? [];
  const vocabularySize = texts.length;
  const specialTexts: string[] = [];
  let longest = 1;
  for (let id = 0; id < vocabularySize; id++) {
    const text = texts[id]!;
    longest = Math.max(longest, text.length);
    const attributes = model.getTokenAttributes(id as Token);
    if (attributes.control || attributes.unknown) specialTexts.push(text);
  }
  const renderChat = createChatPrompt({
    template: metadata?.chat_template ?? null,
    bosText: model.tokens.bosString ?? "",
    eosText: model.tokens.eosString ?? "",
    specialTexts,
  });
  const charactersMax = contextSize * longest;
  function readTexts(parts: readonly string[]): number[] {
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    if (length > charactersMax) throw contextExceeded(contextSize);
    const ids: number[] = parts.flatMap((part) => model.tokenize(part, true));
    const bos = model.tokens.bos;
    if (bos !== null && model.tokens.shouldPrependBosToken && ids[0] !== bos) ids.unshift(bos);
    if (ids.length === 0) throw new Fault("invalid-argument", "the prompt is empty");
    return ids;
  }
  function checkVocabulary(ids: readonly number[]): void {
    if (ids.every((id) => id < vocabularySize)) return;
    throw new Fault("invalid-argument", "ids lie outside of the vocabulary", { param: "ids" });
  }
  return {
    vocabularySize,
    checkVocabulary,
    read(prompt) {
      if (prompt.kind === "text") return readTexts([prompt.text]);
      if (prompt.kind === "chat") {
        const length = prompt.messages.reduce((sum, message) => sum + message.content.length, 0);
        if (length > charactersMax) throw contextExceeded(contextSize);
        return readTexts(renderChat(prompt.messages, prompt.tools));
      }
      checkVocabulary(prompt.tokens);
      return [...prompt.tokens];
    },
  };
}

export function contextExceeded(contextSize: number): Fault {
  const message = `the prompt does not fit the context of ${contextSize} tokens`;
  return new Fault("context-length-exceeded", message, { param: "messages" });
}
