// Starts the engine that this edge serves by: llama.cpp in a process of its own.
import { asFault } from "../../proto/fault.ts";
import type { Log } from "../../runtime/log.ts";
import type { Engine } from "../engine/engine.ts";
import { createLlamaEngine } from "../engine/llama/llama-engine.ts";
import type { StartEngine } from "./model-host.ts";

export interface EngineSettings {
  readonly slots: number;
  readonly contextSize: number;
  readonly threads: number;
  readonly gpu: boolean;
}

/** Characters are never fewer than tokens, so this many always fit. */
const WARM_UP_CHARACTERS = 256;
const WARM_UP_TOKENS = 8;
/** Of the context, for the tokens that a template or the model itself adds. */
const CONTEXT_RESERVE = WARM_UP_TOKENS + 8;

/** `onChange` is called at every change of an engine's state. */
export function engineStarter(
  { slots, contextSize, threads, gpu }: EngineSettings,
  log: Log,
  onChange: () => void,
): StartEngine {
  return async ({ model, modelPath, version, signal }) => {
    const options = {
      modelPath,
      version,
      slots,
      contextSize,
      threads,
      gpu: gpu ? "auto" : false,
      log: (text: string) => log.debug({ model, text: text.trimEnd() }, "engine"),
    } as const;
    const engine = await createLlamaEngine(options, signal);
    await warmUp(engine, log, signal);
    if (signal.aborted) {
      await engine.close();
      throw signal.reason;
    }
    engine.onState((state) => {
      log.info({ model, state }, "engine");
      onChange();
    });
    return engine;
  };
}

/**
 * Runs the model once before anybody does, so that its pages are in memory and its rates known:
 * routing would otherwise guess them, and prefer edges that have served to one that is idle.
 */
export async function warmUp(engine: Engine, log: Log, signal: AbortSignal): Promise<void> {
  const length = Math.min(WARM_UP_CHARACTERS, engine.info.contextSize - CONTEXT_RESERVE);
  const text = "one two three four ".repeat(WARM_UP_CHARACTERS / 16).slice(0, length);
  const job = {
    prompt: { kind: "text", text },
    resume: null,
    maxTokens: WARM_UP_TOKENS,
    temperature: 0,
    topP: 1,
    topK: 0,
    minP: 0,
    seed: 0,
    repeatPenalty: null,
    stop: [],
    constraint: null,
    topLogprobs: null,
    version: "",
    priority: "interactive",
  } as const;
  try {
    await engine.generate(job, () => {}, signal);
  } catch (thrown) {
    if (signal.aborted) return;
    // An engine that can't do this may still serve; it goes on with its rates unknown.
    log.warn({ fault: asFault(thrown).code }, "the warm-up failed");
  }
}
