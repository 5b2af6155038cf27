// How each version does with callers of this edge since it began to serve here: requests, faults,
// times and ratings, for the region and through it for whoever decides about a rollout.
//
// Measured where requests reach the engine, behind the queue: how busy the edge is says nothing of
// a version. Requests that pin a version (evaluations do) are nobody's choice and don't count.
import { create } from "@bufbuild/protobuf";
import { asFault, type FaultCode } from "../../proto/fault.ts";
import type { GenerateResponse } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { type VersionHealth, VersionHealthSchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { InferenceBackend } from "../../runtime/inference/backend.ts";
import type { ServedModels } from "./served-models.ts";

/** Versions of one model whose counts are kept: what serves now, and what served before. */
export const VERSIONS_KEPT = 4;
/** Versions served elsewhere that callers of this edge have rated. */
const RATED_ONLY_MAX = 8;
/** A stream that was given up after so long without a token failed, whoever ended it. */
export const SILENT_MS = 2_000;
/** Faults of this side. */
const OURS: readonly FaultCode[] = ["engine-crashed", "internal", "unavailable", "link-lost"];
/** Whoever waited has left, or ran out of time. */
const GIVEN_UP: readonly FaultCode[] = ["cancelled", "deadline-exceeded"];

/** How callers have rated a version, ever since. */
export interface VersionRating {
  readonly model: string;
  readonly version: string;
  /** Ratings from -1 to 1. */
  readonly sum: number;
  readonly count: number;
}

interface Counts {
  readonly version: string;
  readonly sinceMs: number;
  requests: number;
  errors: number;
  ttftMsSum: number;
  ttftMsSquareSum: number;
  ttftCount: number;
  tpotMsSum: number;
  tpotMsSquareSum: number;
  tpotCount: number;
  /** Ratings that were given before it began to serve; unknown until first read. */
  ratedBefore: { readonly sum: number; readonly count: number } | undefined;
}

export interface VersionBookOptions {
  readonly models: Pick<ServedModels, "models" | "active" | "onChange">;
  readonly clock: Clock;
}

export class VersionBook {
  readonly #models: VersionBookOptions["models"];
  readonly #clock: Clock;
  /** By model, the version that serves now last. */
  readonly #counts = new Map<string, Counts[]>();
  /** Versions that callers rated here though other edges served them, by name. */
  readonly #ratedOnly = new Map<string, Counts>();
  #ratings: () => readonly VersionRating[] = () => [];
  /** Ratings that were there when this process began. */
  #ratedAtStart: readonly VersionRating[] = [];

  constructor({ models, clock }: VersionBookOptions) {
    this.#models = models;
    this.#clock = clock;
    models.onChange(() => this.#follow());
    this.#follow();
  }

  /** Says where ratings are read from. */
  rateBy(ratings: () => readonly VersionRating[]): void {
    this.#ratings = ratings;
    this.#ratedAtStart = ratings();
  }

  /** The same backend, with what it serves being counted. */
  around(backend: InferenceBackend): InferenceBackend {
    return {
      generate: async (request, context, onEvent) => {
        if (request.version !== "") return await backend.generate(request, context, onEvent);
        const probe = new RequestProbe(this.#clock);
        const { model } = request;
        const active = this.#models.active(model)?.version ?? "";
        try {
          await backend.generate(request, context, (response) => {
            probe.heard(response);
            onEvent(response);
          });
          this.#note(model, probe.version || active, probe, false);
        } catch (thrown) {
          const { code } = asFault(thrown);
          const isSilent = GIVEN_UP.includes(code) && probe.silentMs >= SILENT_MS;
          const isOurs = OURS.includes(code) || isSilent;
          if (isOurs || probe.hasToken) {
            this.#note(model, probe.version || active, probe, isOurs);
          }
          throw thrown;
        }
      },
      embed: (request, context) => backend.embed(request, context),
      score: (request, context) => backend.score(request, context),
      listModels: () => backend.listModels(),
    };
  }

  /** Of every version that is remembered. */
  health(): VersionHealth[] {
    const ratings = this.#ratings();
    const served = [...this.#counts].flatMap(([model, all]) => {
      return all.map((counts) => healthOf(model, counts, ratingOf(ratings, model, counts.version)));
    });
    const others = ratings.filter((one) => !served.some(({ version }) => version === one.version));
    const rated = others.slice(0, RATED_ONLY_MAX).map((one) => {
      return healthOf(one.model, this.#ratedOnlyOf(one), one);
    });
    return [...served, ...rated.filter(({ feedbackCount }) => feedbackCount > 0n)];
  }

  #ratedOnlyOf({ model, version }: VersionRating): Counts {
    let counts = this.#ratedOnly.get(version);
    if (counts === undefined) {
      counts = freshCounts(version, this.#clock.now());
      counts.ratedBefore = ratingOf(this.#ratedAtStart, model, version);
      this.#ratedOnly.set(version, counts);
      const [oldest] = this.#ratedOnly.keys();
      if (this.#ratedOnly.size > RATED_ONLY_MAX) this.#ratedOnly.delete(oldest!);
    }
    return counts;
  }

  /** A version that begins to serve is counted from zero; the others are kept for comparison. */
  #follow(): void {
    for (const model of this.#models.models()) {
      const version = this.#models.active(model)?.version;
      const known = this.#counts.get(model) ?? [];
      if (version === undefined || known.at(-1)?.version === version) continue;
      const others = known.filter((counts) => counts.version !== version);
      const fresh = freshCounts(version, this.#clock.now());
      this.#counts.set(model, [...others, fresh].slice(-VERSIONS_KEPT));
    }
  }

  #note(model: string, version: string, probe: RequestProbe, isError: boolean): void {
    const counts = this.#counts.get(model)?.findLast((one) => one.version === version);
    if (counts === undefined) return;
    counts.requests += 1;
    if (isError) counts.errors += 1;
    const { ttftMs, tpotMs } = probe;
    if (ttftMs !== undefined) {
      counts.ttftMsSum += ttftMs;
      counts.ttftMsSquareSum += ttftMs ** 2;
      counts.ttftCount += 1;
    }
    if (tpotMs !== undefined) {
      counts.tpotMsSum += tpotMs;
      counts.tpotMsSquareSum += tpotMs ** 2;
      counts.tpotCount += 1;
    }
  }
}

/** The times of one request. */
class RequestProbe {
  readonly #clock: Clock;
  readonly #beganMs: number;
  #firstMs: number | undefined;
  #lastMs: number;
  /** After the first event that brought some. */
  #laterTokens = 0;
  version = "";

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#beganMs = clock.monotonicMs();
    this.#lastMs = this.#beganMs;
  }

  heard({ event }: GenerateResponse): void {
    if (event.case === "started") this.version = event.value.version;
    if (event.case !== "tokens") return;
    this.#lastMs = this.#clock.monotonicMs();
    if (this.#firstMs === undefined) this.#firstMs = this.#lastMs;
    else this.#laterTokens += event.value.ids.length;
  }

  get hasToken(): boolean {
    return this.#firstMs !== undefined;
  }

  get silentMs(): number {
    return this.#clock.monotonicMs() - this.#lastMs;
  }

  get ttftMs(): number | undefined {
    return this.#firstMs === undefined ? undefined : this.#firstMs - this.#beganMs;
  }

  /** Undefined without a second token. */
  get tpotMs(): number | undefined {
    if (this.#firstMs === undefined || this.#laterTokens === 0) return undefined;
    return (this.#lastMs - this.#firstMs) / this.#laterTokens;
  }
}

function freshCounts(version: string, sinceMs: number): Counts {
  return {
    ...{ version, sinceMs, requests: 0, errors: 0 },
    ...{ ttftMsSum: 0, ttftMsSquareSum: 0, ttftCount: 0 },
    ...{ tpotMsSum: 0, tpotMsSquareSum: 0, tpotCount: 0 },
    ratedBefore: undefined,
  };
}

function ratingOf(ratings: readonly VersionRating[], model: string, version: string) {
  const rating = ratings.find((one) => one.model === model && one.version === version);
  return { sum: rating?.sum ?? 0, count: rating?.count ?? 0 };
}

function healthOf(
  model: string,
  counts: Counts,
  rated: { readonly sum: number; readonly count: number },
): VersionHealth {
  counts.ratedBefore ??= { sum: rated.sum, count: rated.count };
  const { ratedBefore: before, version } = counts;
  const { ttftMsSum, ttftMsSquareSum, tpotMsSum, tpotMsSquareSum } = counts;
  return create(VersionHealthSchema, {
    ...{ model, version, sinceMs: BigInt(counts.sinceMs) },
    ...{ ttftMsSum, ttftMsSquareSum, tpotMsSum, tpotMsSquareSum },
    requests: BigInt(counts.requests),
    errors: BigInt(counts.errors),
    ttftCount: BigInt(counts.ttftCount),
    tpotCount: BigInt(counts.tpotCount),
    // Ratings that callers have changed or that were forgotten may be fewer than before.
    feedbackSum: rated.count >= before.count ? rated.sum - before.sum : 0,
    feedbackCount: BigInt(Math.max(0, rated.count - before.count)),
  });
}
