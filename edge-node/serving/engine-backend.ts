// Serves requests by the engines of this edge: picks the version, asks its engine, and tells the
// caller in the words of the wire.
import { randomInt } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import {
  EmbeddingSchema,
  EmbedResponseSchema,
  type ModelInfo,
  ScoreResponseSchema,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { checkEmbed, checkGenerate, checkScore } from "../../runtime/frontend/request-rules.ts";
import type { InferenceBackend } from "../../runtime/inference/backend.ts";
import type { Standing } from "../../runtime/inference/inquiry.ts";
import type { GenerateEvent } from "../engine/engine.ts";
import { toEnginePrompt, toGenerateJob } from "./generate-job.ts";
import { toGenerateResponse } from "./generate-response.ts";
import { RemainingTokens } from "./remaining-tokens.ts";
import {
  engineRefusal,
  type ServedModels,
  type ServedVersion,
  type VersionWish,
} from "./served-models.ts";

export interface EngineBackendOptions {
  readonly models: ServedModels;
  readonly edge: string;
  readonly region: string;
}

const SEED_END = 2 ** 32;

export class EngineBackend implements InferenceBackend {
  readonly #models: ServedModels;
  readonly #edge: string;
  readonly #region: string;
  readonly #remaining = new Map<string, RemainingTokens>();

  constructor(options: EngineBackendOptions) {
    this.#models = options.models;
    this.#edge = options.edge;
    this.#region = options.region;
  }

  generate: InferenceBackend["generate"] = async (request, context, onEvent) => {
    // Again, though the frontends did: what comes through a trunk has passed no frontend here.
    checkGenerate(request);
    const preferred = request.resume?.version ?? "";
    const wish = { model: request.model, pinned: request.version, preferred };
    await this.#use(wish, async ({ model, version, engine, engineVersion }) => {
      const job = toGenerateJob(request, { engineVersion, seed: randomInt(SEED_END) });
      const by = { model, version, edge: this.#edge, region: this.#region };
      const count = this.#remainingOf(model).begin(job.maxTokens, job.resume?.tokens.length ?? 0);
      let phase: Standing["phase"] = "reading";
      context.inquiry?.answeredBy(() => ({ phase, silentMs: engine.stats().silentMs }));
      const relay = (event: GenerateEvent) => {
        if (event.kind === "tokens") {
          count.add(event.ids.length);
          phase = "generating";
        }
        onEvent(toGenerateResponse(event, by));
      };
      await engine.generate(job, relay, context.signal).finally(() => count.end());
    });
  };

  embed: InferenceBackend["embed"] = async (request, context) => {
    checkEmbed(request);
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

  /** Mean completion tokens still to come for each active stream of the model. */
  remainingTokensMean(model: string): number {
    return this.#remaining.get(model)?.mean ?? 0;
  }

  #remainingOf(model: string): RemainingTokens {
    let remaining = this.#remaining.get(model);
    if (remaining === undefined) {
      remaining = new RemainingTokens();
      this.#remaining.set(model, remaining);
    }
    return remaining;
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
