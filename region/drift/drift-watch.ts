// What the edges of a region tell of their drift, made into one alert a model: raised when an edge
// is beyond its threshold, taken back once all are well below again.
import { create } from "@bufbuild/protobuf";
import {
  type DriftScore,
  DriftScoreSchema,
  type RegionSummary,
} from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { Log } from "../../runtime/log.ts";
import type { Metrics } from "../../runtime/metrics.ts";

/** An alert is taken back below this share of the threshold, so that it doesn't flutter. */
const CALM_SHARE = 0.9;

/** How one model's inputs stand in the region. */
export interface DriftAlert {
  readonly edges: readonly string[];
  readonly worst: DriftScore;
}

export interface DriftWatchOptions {
  readonly log: Log;
  readonly metrics: Metrics;
}

export class DriftWatch {
  readonly #log: Log;
  readonly #edges = new Map<string, readonly DriftScore[]>();
  /** By model, the edges that went beyond their threshold and aren't calm yet. */
  readonly #beyond = new Map<string, Map<string, DriftScore>>();
  readonly #count;
  readonly #score;

  constructor({ log, metrics }: DriftWatchOptions) {
    this.#log = log;
    this.#count = metrics.gauge({
      name: "isthmus_drift_edges",
      help: "Edges whose recent inputs are far from what they trained on.",
      labels: ["model"],
    });
    this.#score = metrics.gauge({
      name: "isthmus_drift_score_bits",
      help: "Jensen-Shannon divergence of the edge that has drifted farthest.",
      labels: ["model"],
    });
  }

  /** Takes what a heartbeat tells; one that tells nothing changes nothing. */
  take(edge: string, scores: readonly DriftScore[]): void {
    if (scores.length === 0) return;
    const before = this.#edges.get(edge) ?? [];
    this.#edges.set(edge, scores);
    for (const { model } of before) {
      if (!scores.some((score) => score.model === model)) this.#calm(model, edge);
    }
    for (const score of scores) {
      const wasBeyond = this.#beyond.get(score.model)?.has(edge) ?? false;
      if (isBeyond(score, wasBeyond)) this.#alarm(score, edge);
      else this.#calm(score.model, edge);
    }
  }

  /** An edge, or the process that told, is gone. */
  forget(edge: string): void {
    const before = this.#edges.get(edge) ?? [];
    this.#edges.delete(edge);
    for (const { model } of before) this.#calm(model, edge);
  }

  /** Null while all of the model's edges are calm. */
  alertOf(model: string): DriftAlert | null {
    const beyond = this.#beyond.get(model);
    if (beyond === undefined) return null;
    const [first, ...others] = beyond.values();
    const worst = others.reduce((most, score) => (score.score > most.score ? score : most), first!);
    return { edges: [...beyond.keys()].sort(), worst };
  }

  /** Adds what is known to a summary that is about to be told, and counts it. */
  tellIn(summary: RegionSummary): void {
    for (const edge of summary.edges) edge.drift = [...(this.#edges.get(edge.edge) ?? [])];
    const highest = new Map<string, number>();
    for (const { model, score } of [...this.#edges.values()].flat()) {
      highest.set(model, Math.max(score, highest.get(model) ?? 0));
    }
    for (const [model, score] of highest) this.#score.set({ model }, score);
    for (const model of summary.models) {
      const alert = this.alertOf(model.model);
      if (alert === null) continue;
      model.edgesDrifting = alert.edges.length;
      model.drift = create(DriftScoreSchema, alert.worst);
    }
  }

  #alarm(told: DriftScore, edge: string): void {
    const { model, score, threshold, inputs } = told;
    const beyond = this.#beyond.get(model) ?? new Map<string, DriftScore>();
    if (beyond.size === 0) {
      const seen = { model, edge, score, threshold, inputs };
      this.#log.warn(seen, "inputs have drifted from what was trained on: a round would help");
    }
    beyond.set(edge, told);
    this.#beyond.set(model, beyond);
    this.#count.set({ model }, beyond.size);
  }

  #calm(model: string, edge: string): void {
    const beyond = this.#beyond.get(model);
    if (!beyond?.delete(edge)) return;
    this.#count.set({ model }, beyond.size);
    if (beyond.size > 0) return;
    this.#beyond.delete(model);
    this.#log.info({ model }, "inputs are again like those trained on");
  }
}

function isBeyond({ score, threshold }: DriftScore, wasBeyond: boolean): boolean {
  return score > (wasBeyond ? CALM_SHARE * threshold : threshold);
}
