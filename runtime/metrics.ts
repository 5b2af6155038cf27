// The Prometheus metrics of a process: one registry, its default process metrics, and constructors
// that give the same metric to whoever asks for the same name.
import {
  Counter,
  collectDefaultMetrics,
  Gauge,
  Histogram,
  type Metric,
  Registry,
} from "prom-client";

export interface MetricSpec<L extends string> {
  /** In snake case with its unit last, e.g. isthmus_ttft_seconds. */
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly L[];
}

export interface HistogramSpec<L extends string> extends MetricSpec<L> {
  readonly buckets: readonly number[];
}

export interface Metrics {
  readonly registry: Registry;
  counter<L extends string = never>(spec: MetricSpec<L>): Counter<L>;
  gauge<L extends string = never>(spec: MetricSpec<L>): Gauge<L>;
  histogram<L extends string = never>(spec: HistogramSpec<L>): Histogram<L>;
  /** The exposition text for /metrics. */
  text(): Promise<string>;
}

/** Makes the metrics of one process; `labels` (role, name, region) are put on each of them. */
export function createMetrics(labels: Readonly<Record<string, string>>): Metrics {
  const registry = new Registry();
  registry.setDefaultLabels(labels);
  collectDefaultMetrics({ register: registry });
  const common = <L extends string>({ name, help, labels: names }: MetricSpec<L>) => ({
    name,
    help,
    labelNames: names === undefined ? [] : [...names],
    registers: [registry],
  });
  const known = <M extends Metric>(name: string, make: () => M): M =>
    (registry.getSingleMetric(name) as M | undefined) ?? make();
  return {
    registry,
    counter: (spec) => known(spec.name, () => new Counter(common(spec))),
    gauge: (spec) => known(spec.name, () => new Gauge(common(spec))),
    histogram: (spec) =>
      known(spec.name, () => new Histogram({ ...common(spec), buckets: [...spec.buckets] })),
    text: () => registry.metrics(),
  };
}
