// The port behind which a model runs: text generation with resume, scoring, embeddings, versions.
// Plain structured-clonable values only, so that an implementation may live in another process.
// Faults: every promise here rejects with a Fault (proto/fault.ts). The codes an engine uses:
// invalid-argument, context-length-exceeded, payload-too-large, unsupported, not-found (version),
// conflict (version id taken), overloaded, cancelled, draining, engine-crashed, unavailable.
import type { ToolCall, ToolSpec } from "../../runtime/tools/tool-spec.ts";

export interface ChatMessage {
  readonly role: "system" | "user" | "assistant" | "tool";
  readonly content: string;
  /** Of an assistant: the calls that it made. */
  readonly toolCalls?: readonly ToolCall[];
  /** Of a tool: the call that it answers. */
  readonly toolCallId?: string;
}

export type EnginePrompt =
  | { readonly kind: "text"; readonly text: string }
  | {
      readonly kind: "chat";
      readonly messages: readonly ChatMessage[];
      /** What the model may call. */
      readonly tools?: readonly ToolSpec[];
    }
  | { readonly kind: "tokens"; readonly tokens: readonly number[] };

/** Restricts what may be generated. `schema` is the text of a JSON schema, `gbnf` of a grammar. */
export type Constraint =
  | { readonly kind: "json-schema"; readonly schema: string }
  | { readonly kind: "json-object" }
  | { readonly kind: "grammar"; readonly gbnf: string };

/** What the caller already has of a completion. */
export interface Resume {
  readonly tokens: readonly number[];
  /** Length of the delivered text in UTF-16 code units. */
  readonly textLength: number;
}

/** Makes repetition of the last completion tokens less likely; see OpenAI's two penalties. */
export interface RepeatPenalty {
  /** Divides the logits of repeated tokens; 1 changes nothing. */
  readonly penalty: number;
  readonly frequencyPenalty: number;
  readonly presencePenalty: number;
}

export interface GenerateJob {
  readonly prompt: EnginePrompt;
  readonly resume: Resume | null;
  /** Counted from the start of the completion, resumed tokens included; 0: as many as fit. */
  readonly maxTokens: number;
  /** 0 takes the argmax. */
  readonly temperature: number;
  readonly topP: number;
  /** 0 considers the whole vocabulary. */
  readonly topK: number;
  readonly minP: number;
  /** Unsigned 32-bit. A resumed completion continues from a seed derived from (seed, position). */
  readonly seed: number;
  readonly repeatPenalty: RepeatPenalty | null;
  readonly stop: readonly string[];
  readonly constraint: Constraint | null;
  /** How many alternatives to report beside each token; null reports no probabilities at all. */
  readonly topLogprobs: number | null;
  /** Which version generates; "" is the active one. */
  readonly version: string;
  readonly priority: "interactive" | "batch";
  /** Names the prompt in `EngineStats.held`; absent for one that isn't told of there. */
  readonly label?: string;
}

export interface ScoredToken {
  readonly id: number;
  readonly text: string;
  /** Natural logarithm of the probability with which the sampler could choose it. */
  readonly logprob: number;
}

export interface TokenLogprob extends ScoredToken {
  readonly top: readonly ScoredToken[];
}

export type GenerateEvent =
  | {
      readonly kind: "started";
      readonly promptTokens: number;
      /** Tokens of prompt and resumed completion whose state was reused. */
      readonly cachedTokens: number;
      readonly version: string;
    }
  | {
      readonly kind: "tokens";
      /** Position of the first id in the completion, resumed tokens included. */
      readonly index: number;
      readonly ids: readonly number[];
      /** Text that became final with these ids; may be empty. */
      readonly text: string;
      readonly logprobs: readonly TokenLogprob[] | null;
    }
  | {
      readonly kind: "finished";
      readonly reason: "stop" | "length";
      readonly stopSequence: string | null;
      /** Text that was held back until the end. */
      readonly text: string;
      readonly promptTokens: number;
      readonly cachedTokens: number;
      readonly completionTokens: number;
      /** The end-of-generation token that ended it; not among the ids, and not counted. */
      readonly endToken: number | null;
    };

export interface EngineInfo {
  readonly architecture: string;
  /** Tokens that one sequence holds, prompt and completion together. */
  readonly contextSize: number;
  readonly trainedContextSize: number;
  readonly embeddingSize: number;
  readonly vocabularySize: number;
  readonly modelBytes: number;
  /** Sequences generated at once. */
  readonly slots: number;
  readonly threads: number;
  /** Kind of GPU in use, "" for none. */
  readonly gpu: string;
  readonly gpuDevices: readonly string[];
  /** Milliseconds from the start of the process to the first version being ready. */
  readonly loadMs: number;
}

/** A labelled prompt that a sequence was given last, so that its state is there to be reused. */
export interface HeldPrompt {
  readonly label: string;
  readonly version: string;
  /** Tokens whose state is there, from the start of the prompt; the completion's among them. */
  readonly tokens: number;
}

export interface EngineStats {
  /** Sequences at work now. */
  readonly active: number;
  /** Jobs taken that wait for a free slot. */
  readonly queued: number;
  readonly freeSlots: number;
  /** Measured rates, smoothed; 0 until measured. */
  readonly prefillTokensPerSecond: number;
  readonly decodeTokensPerSecondPerStream: number;
  readonly decodeTokensPerSecondTotal: number;
  readonly tokensGenerated: number;
  readonly tokensPrefilled: number;
  readonly tokensReused: number;
  /** Tokens whose state the sequences hold. */
  readonly stateTokens: number;
  readonly held: readonly HeldPrompt[];
  readonly rssBytes: number;
  readonly freeMemoryBytes: number;
  readonly totalMemoryBytes: number;
  readonly gpuUsedBytes: number;
  readonly gpuTotalBytes: number;
  readonly restarts: number;
  /** How long nothing was heard of the engine although it has work to do. */
  readonly silentMs: number;
}

export interface TokenScore {
  readonly argmax: number;
  /** Logit of the argmax less the logit of the given token; 0 when they are the same. */
  readonly gap: number;
}

export interface Embeddings {
  readonly vectors: readonly Float32Array[];
  /** Tokens read, all texts together. */
  readonly tokens: number;
}

export interface Adapter {
  readonly path: string;
  readonly scale: number;
}

export interface VersionSpec {
  readonly id: string;
  readonly adapters: readonly Adapter[];
}

export interface VersionState extends VersionSpec {
  readonly active: boolean;
  /** Closing: serves what it has, takes nothing new. */
  readonly draining: boolean;
}

export type EngineState = "loading" | "ready" | "failed" | "closed";

export interface Engine {
  readonly info: EngineInfo;
  readonly state: EngineState;
  /** Calls back at every change of state, until the returned function is called. */
  onState(listener: (state: EngineState) => void): () => void;
  /**
   * Makes one completion: one `started`, any number of `tokens`, one `finished`, then resolves.
   * Calls `onEvent` in order and never after it settled. `signal` stops it within one step.
   */
  generate(
    job: GenerateJob,
    onEvent: (event: GenerateEvent) => void,
    signal: AbortSignal,
  ): Promise<void>;
  embed(texts: readonly string[], signal: AbortSignal): Promise<Embeddings>;
  tokenize(prompt: EnginePrompt): Promise<number[]>;
  countTokens(prompt: EnginePrompt): Promise<number>;
  /** Teacher-forces `tokens` after the prompt. `version` "" is the active one. */
  score(
    prompt: EnginePrompt,
    tokens: readonly number[],
    signal: AbortSignal,
    version?: string,
  ): Promise<TokenScore[]>;
  /** Prepares a version beside those that serve; the adapters' files must exist. */
  openVersion(spec: VersionSpec): Promise<void>;
  /** From here on, jobs that name no version use this one; streams on others go on. */
  activateVersion(id: string): Promise<void>;
  /** Takes no new jobs for the version, waits for its streams to end, then frees it. */
  closeVersion(id: string): Promise<void>;
  versions(): readonly VersionState[];
  stats(): EngineStats;
  /** Ends everything at once; what is in flight rejects with `draining`. */
  close(): Promise<void>;
}
