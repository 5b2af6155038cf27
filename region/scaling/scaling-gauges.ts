// What scaling shows in /metrics, by model: the models that are desired or on edges, so no caller
// can make them more. Each gateway tells of itself: sum what waits, take the most of the others.
import type { Metrics } from "../../runtime/metrics.ts";

export interface ScalingFigures {
  readonly replicas: number;
  readonly waiting: number;
  readonly queueWaitMs: number;
  readonly predictedTtftMs: number;
}

const MS_PER_S = 1000;
const labels = ["model"] as const;

interface ModelGauge {
  set(labels: { model: string }, value: number): void;
  remove(labels: { model: string }): void;
}

export class ScalingGauges {
  readonly #desired: ModelGauge;
  readonly #waiting: ModelGauge;
  readonly #queueWait: ModelGauge;
  readonly #predictedTtft: ModelGauge;

  constructor(metrics: Metrics) {
    this.#desired = metrics.gauge({
      name: "isthmus_desired_replicas",
      help: "Edges that the model should have in this region.",
      labels,
    });
    this.#waiting = metrics.gauge({
      name: "isthmus_waiting_requests",
      help: "Requests that this gateway holds until an edge with the model is up.",
      labels,
    });
    this.#queueWait = metrics.gauge({
      name: "isthmus_queue_wait_seconds",
      help: "Predicted wait for a slot on the edge that would begin soonest.",
      labels,
    });
    this.#predictedTtft = metrics.gauge({
      name: "isthmus_predicted_ttft_seconds",
      help: "95th percentile of what was predicted to the first token, of a minute's requests.",
      labels,
    });
  }

  show(model: string, figures: ScalingFigures): void {
    this.#desired.set({ model }, figures.replicas);
    this.#waiting.set({ model }, figures.waiting);
    this.#queueWait.set({ model }, figures.queueWaitMs / MS_PER_S);
    this.#predictedTtft.set({ model }, figures.predictedTtftMs / MS_PER_S);
  }

  forget(model: string): void {
    for (const gauge of [this.#desired, this.#waiting, this.#queueWait, this.#predictedTtft]) {
      gauge.remove({ model });
    }
  }
}
