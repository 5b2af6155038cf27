// What an engine on node-llama-cpp is started with.
import type { Clock } from "../../../runtime/clock.ts";
import type { VersionSpec } from "../engine.ts";

export interface LlamaEngineOptions {
  readonly modelPath: string;
  /** Tokens of one sequence; the model's trained size caps it. Default 4096. */
  readonly contextSize?: number;
  /** Sequences generated at once. Default 4. */
  readonly slots?: number;
  /** Default: one less than there are cores, since llama.cpp's threads spin. */
  readonly threads?: number;
  readonly gpu?: "auto" | false;
  /** The version to begin with. Default: id "base", no adapters. */
  readonly version?: VersionSpec;
  /**
   * Takes constraints that are written as a grammar. Default false: a hostile one can hold up
   * every stream until the process is replaced. JSON schemas are checked and always taken.
   */
  readonly grammars?: boolean;
  readonly clock?: Clock;
  /** Gets llama.cpp's warnings, never a prompt. */
  readonly log?: (text: string) => void;
}
