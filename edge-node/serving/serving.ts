// The edge's serving, put together: models and their versions, the engines that run them, the
// admission before them, and the drain that takes it all out of service.
import { join } from "node:path";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import { createArtifactStore } from "../../sync/artifact/artifact-store.ts";
import { AdmittedBackend } from "../admission/admitted-backend.ts";
import type { EdgeConfig } from "../config.ts";
import { ArtifactHolder } from "../versions/artifact-holder.ts";
import { engineStarter } from "../versions/engine-starter.ts";
import { Versions } from "../versions/versions.ts";
import { Drain } from "./drain.ts";
import { EngineBackend } from "./engine-backend.ts";
import { ServedModels } from "./served-models.ts";
import { VersionBook } from "./version-health.ts";

/** How often the admission's limits follow what was measured. */
const ADAPT_EVERY_MS = 500;

export interface Serving {
  readonly models: ServedModels;
  readonly versions: Versions;
  readonly engines: EngineBackend;
  readonly admitted: AdmittedBackend;
  readonly holder: ArtifactHolder;
  readonly drain: Drain;
  readonly versionBook: VersionBook;
  /** Set once everything that tells of changes is there. */
  onChange: () => void;
}

export interface ServingScope {
  readonly log: Log;
  readonly clock: Clock;
  onStop(stop: () => void | Promise<void>): void;
}

export function openServing(config: EdgeConfig, { log, clock, onStop }: ServingScope): Serving {
  const { name: edge, region, gateway, queueMax } = config;
  const models = new ServedModels();
  const store = createArtifactStore({ dir: join(config.dir, "artifacts") });
  const sources = () => (gateway === undefined ? [] : [gateway.http]);
  const holder = new ArtifactHolder({ store, sources, clock });
  const onChange = () => serving.onChange();
  const startEngine = engineStarter(config.engine, log, onChange);
  const engines = new EngineBackend({ models, edge, region, clock });
  const versionBook = new VersionBook({ models, clock });
  const admitted = new AdmittedBackend({
    backend: versionBook.around(engines),
    slotsOf: (model) => models.slotsOf(model),
    leastMsOf: (request) => engines.leastMs(request),
    queueMax,
    clock,
    onChange,
  });
  const adapting = clock.every(ADAPT_EVERY_MS, () => {
    admitted.adapt((model) => engines.sampleOf(model));
  });
  const serving: Serving = {
    models,
    versions: new Versions({
      name: `${region}/${edge}`,
      dir: config.dir,
      files: config.models,
      models,
      hold: (artifact, signal) => holder.hold(artifact, signal),
      startEngine,
      clock,
      log,
      // Called from within the constructor too, before `serving` is there.
      onChange: () => queueMicrotask(onChange),
    }),
    engines,
    admitted,
    holder,
    drain: new Drain({ requests: admitted, clock, log, onChange }),
    versionBook,
    onChange: () => {},
  };
  onStop(async () => {
    adapting.cancel();
    holder.stop();
    await serving.versions.stop();
  });
  return serving;
}
