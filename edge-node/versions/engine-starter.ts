// Starts the engine that this edge serves by: llama.cpp in a process of its own.
import type { Log } from "../../runtime/log.ts";
import { createLlamaEngine } from "../engine/llama/llama-engine.ts";
import type { StartEngine } from "./model-host.ts";

export interface EngineSettings {
  readonly slots: number;
  readonly contextSize: number;
  readonly threads: number;
  readonly gpu: boolean;
}

/** `onChange` is called at every change of an engine's state. */
export function engineStarter(
  { slots, contextSize, threads, gpu }: EngineSettings,
  log: Log,
  onChange: () => void,
): StartEngine {
  return async ({ model, modelPath, version }) => {
    const engine = await createLlamaEngine({
      modelPath,
      version,
      slots,
      contextSize,
      threads,
      gpu: gpu ? "auto" : false,
      log: (text) => log.debug({ model, text: text.trimEnd() }, "engine"),
    });
    engine.onState((state) => {
      log.info({ model, state }, "engine");
      onChange();
    });
    return engine;
  };
}
