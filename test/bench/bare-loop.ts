// The yardstick: node-llama-cpp called directly, in a process of its own. One stream is a plain
// evaluate() loop; several run in lockstep, one token of each at a time. Started by bare-engine.ts.
import { performance } from "node:perf_hooks";
import { getLlama, type LlamaContextSequence, LlamaLogLevel } from "node-llama-cpp";
import { type DecodeWindow, decodeWindow } from "./decode-window.ts";

export interface BareStart {
  readonly modelPath: string;
  readonly threads: number;
  readonly contextSize: number;
  readonly slots: number;
}

export interface BareBatch {
  readonly prompts: readonly string[];
  readonly maxTokens: number;
}

const start = JSON.parse(process.argv[2] ?? "{}") as BareStart;
const llama = await getLlama({
  gpu: false,
  build: "never",
  logLevel: LlamaLogLevel.error,
  maxThreads: start.threads,
});
const model = await llama.loadModel({ modelPath: start.modelPath });
const context = await model.createContext({
  contextSize: start.contextSize,
  sequences: start.slots,
  threads: start.threads,
});
const sequences = Array.from({ length: start.slots }, () => context.getSequence());

async function runBatch({ prompts, maxTokens }: BareBatch): Promise<DecodeWindow> {
  const active = prompts.map((prompt, at) => open(sequences[at]!, prompt));
  const arrivals = prompts.map((): number[] => []);
  let done = false;
  for (let made = 0; made < maxTokens && !done; made += 1) {
    const steps = await Promise.all(active.map((stream) => stream.next()));
    const nowMs = performance.now();
    for (const [at, step] of steps.entries()) {
      if (step.done || model.isEogToken(step.value)) done = true;
      else arrivals[at]!.push(nowMs);
    }
  }
  await Promise.all(active.map((stream) => stream.return()));
  for (const sequence of sequences) await sequence.clearHistory();
  return decodeWindow(arrivals.map((arrivalsMs) => ({ arrivalsMs })));
}

function open(sequence: LlamaContextSequence, prompt: string) {
  const bos = model.tokens.shouldPrependBosToken ? model.tokens.bos : null;
  const tokens = model.tokenize(prompt);
  const whole = bos === null ? tokens : [bos, ...tokens];
  return sequence.evaluate(whole, { temperature: 0, yieldEogToken: true });
}

process.on("message", (batch: BareBatch) => {
  void runBatch(batch).then((window) => process.send?.(window));
});
process.on("disconnect", () => process.exit(0));
process.send?.("ready");
