// Everything that lives in the child process: the model, its versions, and the jobs on them.
import { performance } from "node:perf_hooks";
import type { Llama, LlamaModel } from "node-llama-cpp";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { Fault } from "../../../proto/fault.ts";
import type { EngineInfo, HeldPrompt, VersionSpec } from "../engine.ts";
import type { ChildStats, LoadOptions } from "./child-messages.ts";
import { createEmbedder, type Embedder } from "./embedder.ts";
import { createGrammarCompiler, type GrammarCompiler } from "./grammar-compiler.ts";
import { createPromptReader, type PromptReader } from "./prompt-reader.ts";
import { createTokenPieces, type TokenPieces } from "./token-pieces.ts";
import { openVersionContext, type VersionContext } from "./version-context.ts";

const CONTEXT_SIZE_DEFAULT = 4096;
export const VERSIONS_MAX = 8;

export class ModelHost {
  readonly llama: Llama;
  readonly model: LlamaModel;
  readonly options: LoadOptions;
  readonly contextSize: number;
  readonly prompts: PromptReader;
  readonly pieces: TokenPieces;
  readonly grammars: GrammarCompiler;
  readonly embedder: Embedder;
  readonly #versions = new Map<string, VersionContext>();
  #active = "";

  constructor(llama: Llama, model: LlamaModel, options: LoadOptions) {
    this.llama = llama;
    this.model = model;
    this.options = options;
    const wanted = options.contextSize > 0 ? options.contextSize : CONTEXT_SIZE_DEFAULT;
    this.contextSize = Math.min(wanted, model.trainContextSize);
    this.prompts = createPromptReader(model, this.contextSize);
    this.pieces = createTokenPieces(model);
    this.grammars = createGrammarCompiler(llama);
    this.embedder = createEmbedder(model, options.threads);
  }

  async open(spec: VersionSpec): Promise<void> {
    if (this.#versions.has(spec.id)) {
      throw new Fault("conflict", `version ${spec.id} is already open`);
    }
    if (this.#versions.size >= VERSIONS_MAX) {
      throw new Fault("overloaded", `at most ${VERSIONS_MAX} versions are open at once`);
    }
    const { slots, threads } = this.options;
    const settings = { contextSize: this.contextSize, slots, threads };
    const version = await openVersionContext(this.model, spec, settings);
    this.#versions.set(spec.id, version);
  }

  activate(id: string): void {
    if (this.version(id).spec.id === id) this.#active = id;
  }

  /** "" is the active one. Faults: not-found. */
  version(id: string): VersionContext {
    const version = this.#versions.get(id === "" ? this.#active : id);
    if (version === undefined || version.draining) {
      throw new Fault("not-found", `no version ${id} is open`, { param: "version" });
    }
    return version;
  }

  /** Faults: not-found; conflict for the active version. */
  beginClose(id: string): VersionContext {
    if (id === this.#active) {
      throw new Fault("conflict", `version ${id} is active: activate another one first`);
    }
    const version = this.version(id);
    version.draining = true;
    return version;
  }

  async endClose(version: VersionContext): Promise<void> {
    this.#versions.delete(version.spec.id);
    await version.dispose();
  }

  get stateTokens(): number {
    let tokens = 0;
    for (const version of this.#versions.values()) tokens += version.stateTokens;
    return tokens;
  }

  get held(): readonly HeldPrompt[] {
    return [...this.#versions.values()].flatMap((version) => version.held);
  }

  info(loadMs: number, gpuDevices: readonly string[]): EngineInfo {
    return {
      architecture: this.model.fileInfo.metadata.general.architecture,
      contextSize: this.contextSize,
      trainedContextSize: this.model.trainContextSize,
      embeddingSize: this.model.embeddingVectorSize,
      vocabularySize: this.prompts.vocabularySize,
      modelBytes: this.model.size,
      slots: this.options.slots,
      threads: this.options.threads,
      gpu: this.llama.gpu === false ? "" : this.llama.gpu,
      gpuDevices,
      loadMs,
    };
  }

  async gpuMemory(): Promise<Pick<ChildStats, "gpuUsedBytes" | "gpuTotalBytes">> {
    if (this.llama.gpu === false) return { gpuUsedBytes: 0, gpuTotalBytes: 0 };
    const state = await this.llama.getVramState();
    return { gpuUsedBytes: state.used, gpuTotalBytes: state.total };
  }
}

/** Loads the model and opens its first versions. */
export async function loadModelHost(
  options: LoadOptions,
  log: (text: string) => void,
): Promise<{ host: ModelHost; info: EngineInfo }> {
  const begun = performance.now();
  const llama = await getLlama({
    gpu: options.gpu,
    build: "never",
    maxThreads: options.threads,
    logLevel: LlamaLogLevel.warn,
    logger: (_level, text) => log(text),
    progressLogs: false,
  });
  const model = await llama.loadModel({ modelPath: options.modelPath });
  const host = new ModelHost(llama, model, options);
  for (const spec of options.versions) await host.open(spec);
  host.activate(options.activeVersion);
  const devices = llama.gpu === false ? [] : await llama.getGpuDeviceNames();
  return { host, info: host.info(performance.now() - begun, devices) };
}
