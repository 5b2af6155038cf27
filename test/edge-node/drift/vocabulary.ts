// The vocabulary of a real model, without its weights, for tests that count tokens.
import { getLlama, LlamaLogLevel } from "node-llama-cpp";

export async function openVocabulary(modelPath: string) {
  const llama = await getLlama({
    ...{ gpu: false, build: "never", maxThreads: 1 },
    logLevel: LlamaLogLevel.error,
  });
  const model = await llama.loadModel({ modelPath, vocabOnly: true, gpuLayers: 0 });
  return {
    tokenize: (text: string): number[] => model.tokenize(text),
    countsOf(texts: readonly string[]): Map<number, number> {
      const counts = new Map<number, number>();
      for (const text of texts) {
        for (const id of model.tokenize(text)) counts.set(id, (counts.get(id) ?? 0) + 1);
      }
      return counts;
    },
    async dispose() {
      await model.dispose();
      await llama.dispose();
    },
  };
}
