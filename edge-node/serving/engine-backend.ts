// Serves requests by the engines of this edge: picks the version, asks its engine, and tells the
// caller in the words of the wire.
import { randomInt } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { Fault } from "../../proto/fault.ts";
import {
  EmbeddingSchema,
  EmbedResponseSchema,
  type GenerateRequest,
  type ModelInfo,
  type Policy,
  ScoreResponseSchema,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { SourceHints } from "../../runtime/continuation/candidate.ts";
import { checkEmbed, checkGenerate, checkScore } from "../../runtime/frontend/request-rules.ts";
import type { InferenceBackend } from "../../runtime/inference/backend.ts";
import type { Standing } from "../../runtime/inference/inquiry.ts";
import { residencyRefusal } from "../../runtime/policy/residency.ts";
import { promptBlocks } from "../../runtime/prefix/prompt-blocks.ts";
import type { StreamSample } from "../admission/admitted-backend.ts";
import type { GenerateEvent } from "../engine/engine.ts";
import { toEnginePrompt, toGenerateJob } from "./generate-job.ts";
import { toGenerateResponse } from "./generate-response.ts";
import { HeldPrompts } from "./held-prompts.ts";
import { leastTimeMs } from "./least-time.ts";
import {
  engineRefusal,
  type ServedModels,
  type ServedVersion,
  type VersionWish,
} from "./served-models.ts";
import { StreamMeter, type StreamProbe } from "./stream-meter.ts";

export interface EngineBackendOptions {
  readonly models: ServedModels;
  readonly edge: string;
  readonly region: string;
  readonly clock: Clock;
}

/** What is measured of one model on its way through here. */
interface Measured {
  readonly streams: StreamMeter;
  readonly prompts: HeldPrompts;
}

const SEED_END = 2 ** 32;

export class EngineBackend implements InferenceBackend {
  readonly #models: ServedModels;
  readonly #edge: string;
  readonly #region: string;
  readonly #clock: Clock;
  readonly #measured = new Map<string, Measured>();

  constructor(options: EngineBackendOptions) {
    this.#models = options.models;
    this.#edge = options.edge;
    this.#region = options.region;
    this.#clock = options.clock;
  }

  generate: InferenceBackend["generate"] = async (request, context, onEvent) => {
    // Again, though the frontends did: what comes through a trunk has passed no frontend here.
    checkGenerate(request);
    this.#checkRegion(request);
    const preferred = request.resume?.version ?? "";
    const wish = { model: request.model, pinned: request.version, preferred };
    await this.#use(wish, async ({ model, version, engine, engineVersion }) => {
      const { streams, prompts } = this.#measuredOf(model);
      const label = prompts.add(promptBlocks(request));
      const seed = randomInt(SEED_END);
      const job = { ...toGenerateJob(request, { engineVersion, seed }), label };
      const by = { model, version, edge: this.#edge, region: this.#region };
      const probe = streams.begin(job.maxTokens, job.resume?.tokens.length ?? 0);
      let phase: Standing["phase"] = "reading";
      context.inquiry?.answeredBy(() => ({ phase, silentMs: engine.stats().silentMs }));
      const relay = (event: GenerateEvent) => {
        if (event.kind === "started") prompts.counted(label, event.promptTokens);
        if (event.kind === "tokens") phase = "generating";
        this.#measure(probe, event);
        onEvent(toGenerateResponse(event, by));
      };
      await engine.generate(job, relay, context.signal).finally(() => probe.end());
    });
  };

  embed: InferenceBackend["embed"] = async (request, context) => {
    checkEmbed(request);
    this.#checkRegion(request);
    const wish = { model: request.model, pinned: "", preferred: "" };
    return await this.#use(wish, async ({ model, engine }) => {
      const { vectors, tokens } = await engine.embed(request.inputs, context.signal);
      const embeddings = vectors.map((vector) => create(EmbeddingSchema, { values: [...vector] }));
      return create(EmbedResponseSchema, {
        embeddings,
        promptTokens: tokens,
        model,
        edge: this.#edge,
      });
    });
  };

  score: InferenceBackend["score"] = async (request, context) => {
    checkScore(request);
    this.#checkRegion(request);
    const wish = { model: request.model, pinned: request.version, preferred: "" };
    return await this.#use(wish, async ({ engine, engineVersion }) => {
      const prompt = toEnginePrompt(request.prompt);
      const scores = await engine.score(prompt, request.ids, context.signal, engineVersion);
      return create(ScoreResponseSchema, { scores, edge: this.#edge });
    });
  };

  listModels(): readonly ModelInfo[] {
    return this.#models.list();
  }

  /** What was measured of the model's streams since the last time. */
  sampleOf(model: string): StreamSample {
    const { streams } = this.#measuredOf(model);
    const info = this.#models.active(model)?.engine.info;
    const room = info === undefined ? 0 : info.slots * info.contextSize;
    const kvFree = room === 0 ? 1 : Math.max(0, 1 - streams.heldTokens / room);
    return { ...streams.takeWindow(), kvFree };
  }

  /** The least time from a slot to the first token; 0 when nothing is known. */
  leastMs(request: GenerateRequest): number {
    const served = this.#models.active(request.model);
    if (served === undefined) return 0;
    return leastTimeMs(request, served.engine.stats(), this.heldBlocks(request.model));
  }

  /** What to expect of a stream that this edge serves. */
  hints(request: GenerateRequest): SourceHints {
    const { interTokenP99Ms } = this.streamsOf(request.model);
    return { predictedTtftMs: this.leastMs(request), interTokenP99Ms };
  }

  /** What the model's streams are doing. */
  streamsOf(model: string): StreamMeter {
    return this.#measuredOf(model).streams;
  }

  /** Blocks of the prompts whose state the engine of the served version holds. */
  heldBlocks(model: string): readonly number[] {
    const served = this.#models.active(model);
    if (served === undefined) return [];
    const { held } = served.engine.stats();
    return this.#measuredOf(model).prompts.blocksOf(held, served.engineVersion);
  }

  #measuredOf(model: string): Measured {
    let measured = this.#measured.get(model);
    if (measured === undefined) {
      measured = { streams: new StreamMeter(), prompts: new HeldPrompts() };
      this.#measured.set(model, measured);
    }
    return measured;
  }

  #measure(probe: StreamProbe, event: GenerateEvent): void {
    if (event.kind === "started") probe.started(event.promptTokens);
    if (event.kind === "tokens") probe.tokens(event.ids.length, this.#clock.monotonicMs());
  }

  /** Whoever sent it here had to know; which regimes hold in a region is the region's to say. */
  #checkRegion({ policy }: { readonly policy?: Policy | undefined }): void {
    const rule = { regions: policy?.regions ?? [], jurisdictions: [] };
    const refusal = residencyRefusal(rule, this.#region, []);
    if (refusal === null) return;
    throw new Fault("failed-precondition", refusal, { param: "policy.regions" });
  }

  async #use<T>(wish: VersionWish, work: (served: ServedVersion) => Promise<T>): Promise<T> {
    const { served, release } = this.#models.acquire(wish);
    try {
      const refusal = engineRefusal(served);
      if (refusal !== null) throw refusal;
      return await work(served);
    } finally {
      release();
    }
  }
}
