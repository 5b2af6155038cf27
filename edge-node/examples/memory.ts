// What an edge keeps of its callers' requests and answers, to learn from: the examples on its disk,
// and how far its recent inputs are from what it has trained on.
import { join } from "node:path";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { EdgeConfig } from "../config.ts";
import { DriftMonitor } from "../drift/drift-monitor.ts";
import type { ServedModels } from "../serving/served-models.ts";
import { type Examples, openExamples } from "./examples.ts";

export interface Memory {
  readonly examples: Examples;
  readonly drift: DriftMonitor;
}

export interface MemoryScope {
  readonly clock: Clock;
  readonly log: Log;
  onStop(stop: () => void | Promise<void>): void;
}

export function openMemory(
  config: EdgeConfig,
  { clock, log, onStop }: MemoryScope,
  models: ServedModels,
): Memory {
  const examples = openExamples({
    edge: config.name,
    region: config.region,
    dir: join(config.dir, "examples"),
    bounds: config.examples,
    files: config.privateData,
    clock,
  });
  const drift = new DriftMonitor({
    bounds: config.drift,
    tokenize: (model, text) =>
      models.active(model)?.engine.tokenize({ kind: "text", text }) ?? null,
    trainedOn: (model) => examples.trainedOn(model),
    clock,
    log,
  });
  onStop(async () => {
    await drift.stop();
    examples.stop();
  });
  return { examples, drift };
}
