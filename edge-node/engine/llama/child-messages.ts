// What the engine and its child process say to each other. Structured-clonable values only.
import type { FaultCode, FaultStage } from "../../../proto/fault.ts";
import { Fault, isFaultCode } from "../../../proto/fault.ts";
import type {
  EngineInfo,
  EnginePrompt,
  EngineStats,
  GenerateEvent,
  GenerateJob,
  VersionSpec,
} from "../engine.ts";

export interface LoadOptions {
  readonly modelPath: string;
  /** 0: as trained, up to a default. */
  readonly contextSize: number;
  readonly slots: number;
  readonly threads: number;
  readonly gpu: "auto" | false;
  readonly versions: readonly VersionSpec[];
  readonly activeVersion: string;
}

export type ChildCall =
  | { readonly method: "generate"; readonly job: GenerateJob }
  | {
      readonly method: "score";
      readonly prompt: EnginePrompt;
      readonly tokens: readonly number[];
      readonly version: string;
    }
  | { readonly method: "embed"; readonly texts: readonly string[] }
  | { readonly method: "tokenize"; readonly prompt: EnginePrompt }
  | { readonly method: "count-tokens"; readonly prompt: EnginePrompt }
  | { readonly method: "open-version"; readonly spec: VersionSpec }
  | { readonly method: "activate-version"; readonly id: string }
  | { readonly method: "close-version"; readonly id: string };

export type ToChild =
  | { readonly kind: "load"; readonly options: LoadOptions }
  | { readonly kind: "call"; readonly id: number; readonly call: ChildCall }
  | { readonly kind: "cancel"; readonly id: number };

/** The part of the statistics that only the child knows. */
export type ChildStats = Omit<
  EngineStats,
  "freeMemoryBytes" | "totalMemoryBytes" | "restarts" | "freeSlots" | "silentMs"
>;

/** What is known of a process that has told nothing yet. */
export const idleStats: ChildStats = {
  active: 0,
  queued: 0,
  prefillTokensPerSecond: 0,
  decodeTokensPerSecondPerStream: 0,
  decodeTokensPerSecondTotal: 0,
  tokensGenerated: 0,
  tokensPrefilled: 0,
  tokensReused: 0,
  stateTokens: 0,
  held: [],
  rssBytes: 0,
  gpuUsedBytes: 0,
  gpuTotalBytes: 0,
};

export interface FaultRecord {
  readonly code: FaultCode;
  readonly message: string;
  readonly stage: FaultStage;
  readonly param: string;
}

export type FromChild =
  | { readonly kind: "loaded"; readonly info: EngineInfo }
  | { readonly kind: "load-failed"; readonly fault: FaultRecord }
  /** All events of one step, in order. */
  | { readonly kind: "events"; readonly events: readonly (readonly [number, GenerateEvent])[] }
  | { readonly kind: "reply"; readonly id: number; readonly value: unknown }
  | { readonly kind: "fault"; readonly id: number; readonly fault: FaultRecord }
  | { readonly kind: "stats"; readonly stats: ChildStats };

export function recordFault(thrown: unknown, fallback: FaultCode): FaultRecord {
  if (thrown instanceof Fault) {
    return { code: thrown.code, message: thrown.message, stage: thrown.stage, param: thrown.param };
  }
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return { code: fallback, message, stage: "rejected", param: "" };
}

export function reviveFault(record: FaultRecord): Fault {
  const code = isFaultCode(record.code) ? record.code : "internal";
  return new Fault(code, record.message, { stage: record.stage, param: record.param });
}
