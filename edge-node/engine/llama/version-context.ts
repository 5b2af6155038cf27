// One version of the model, ready to generate: a llama.cpp context with its adapters and its
// sequences. Sequences keep what they have read, so that a prompt that begins alike is cheap.
import { access } from "node:fs/promises";
import type { LlamaContext, LlamaContextSequence, LlamaModel, Token } from "node-llama-cpp";
import { Fault } from "../../../proto/fault.ts";
import type { HeldPrompt, VersionSpec } from "../engine.ts";
import { chooseSequence, sharedPrefixLength } from "../sequence-choice.ts";
import { copyState } from "./internals.ts";

export interface SequenceSlot {
  /** Its place among the context's sequences, from 0. */
  readonly index: number;
  readonly sequence: LlamaContextSequence;
  readonly version: VersionContext;
  busy: boolean;
  lastUse: number;
  /** Of the prompt that it was given last; empty for none. */
  label: string;
  promptTokens: number;
}

export interface SlotGrant {
  readonly slot: SequenceSlot;
  /** Leading tokens whose state is there already. */
  readonly shared: number;
}

export interface ContextSettings {
  readonly contextSize: number;
  readonly slots: number;
  readonly threads: number;
}

export class VersionContext {
  readonly spec: VersionSpec;
  readonly #context: LlamaContext;
  readonly #slots: SequenceSlot[];
  /** Set when it takes no new jobs. */
  draining = false;
  /** Jobs that wait for or hold a sequence. */
  users = 0;
  #uses = 0;

  constructor(spec: VersionSpec, context: LlamaContext) {
    this.spec = spec;
    this.#context = context;
    this.#slots = Array.from({ length: context.totalSequences }, (_, index) => ({
      index,
      sequence: context.getSequence({ contextShift: { strategy: refuseShift } }),
      version: this,
      busy: false,
      lastUse: 0,
      label: "",
      promptTokens: 0,
    }));
  }

  get contextSize(): number {
    return this.#context.contextSize;
  }

  get stateTokens(): number {
    return this.#slots.reduce((sum, slot) => sum + slot.sequence.nextTokenIndex, 0);
  }

  /** Labelled prompts whose state the sequences hold. */
  get held(): readonly HeldPrompt[] {
    return this.#slots
      .filter(({ label }) => label !== "")
      .map(({ label, sequence }) => {
        return { label, version: this.spec.id, tokens: sequence.nextTokenIndex };
      });
  }

  /**
   * Takes a sequence that knows much of `tokens`, the prompt of that label.
   * Requires: called between steps.
   */
  async take(tokens: readonly number[], label: string): Promise<SlotGrant | null> {
    // The last token is always read again: its logits are what generation begins with.
    const reusable = tokens.slice(0, -1) as Token[];
    const views = this.#slots.map((slot) => ({
      tokens: slot.sequence.contextTokens,
      promptTokens: Math.min(slot.promptTokens, slot.sequence.nextTokenIndex),
      busy: slot.busy,
      lastUse: slot.lastUse,
    }));
    const choice = chooseSequence(views, reusable);
    if (choice === null) return null;
    const slot = this.#slots[choice.target]!;
    slot.busy = true;
    slot.label = label;
    slot.promptTokens = tokens.length;
    slot.lastUse = ++this.#uses;
    if (choice.source !== null) {
      const source = this.#slots[choice.source]!.sequence;
      await slot.sequence.clearHistory();
      const copied = await copyState(slot.sequence, source, choice.shared);
      if (!copied) await slot.sequence.clearHistory();
    }
    await slot.sequence.adaptStateToTokens(reusable, false);
    const held = slot.sequence.contextTokens;
    const shared = sharedPrefixLength(held, reusable);
    if (shared !== held.length) await slot.sequence.clearHistory();
    return { slot, shared: slot.sequence.nextTokenIndex };
  }

  giveBack(slot: SequenceSlot): void {
    slot.busy = false;
  }

  async dispose(): Promise<void> {
    await this.#context.dispose();
  }
}

/** Faults: not-found for a missing adapter, failed-precondition for one that doesn't fit. */
export async function openVersionContext(
  model: LlamaModel,
  spec: VersionSpec,
  settings: ContextSettings,
): Promise<VersionContext> {
  for (const adapter of spec.adapters) {
    await access(adapter.path).catch(() => {
      throw new Fault("not-found", `no adapter file at ${adapter.path}`);
    });
  }
  const adapters = spec.adapters.map(({ path, scale }) => ({ filePath: path, scale }));
  try {
    const context = await model.createContext({
      contextSize: settings.contextSize,
      sequences: settings.slots,
      threads: settings.threads,
      failedCreationRemedy: false,
      ...(adapters.length === 0 ? {} : { lora: { adapters } }),
    });
    return new VersionContext(spec, context);
  } catch (problem) {
    const why = problem instanceof Error ? problem.message : String(problem);
    throw new Fault("failed-precondition", `version ${spec.id} can't be opened: ${why}`);
  }
}

/** The library would silently forget the beginning of the prompt. */
function refuseShift(): never {
  throw new Fault("context-length-exceeded", "the context is full", { stage: "interrupted" });
}
