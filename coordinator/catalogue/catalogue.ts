// The models, their versions and lineage, and which version should be served. Every change is
// durable when the call returns.
import { create } from "@bufbuild/protobuf";
import { Fault } from "../../proto/fault.ts";
import { type DesiredState, DesiredStateSchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import { modelId, type Sha256, versionId } from "../../proto/ids.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { ArtifactStore } from "../../sync/artifact/artifact-store.ts";
import type { StoredRecord } from "../records/record-log.ts";
import type { RecordStore } from "../records/record-store.ts";
import {
  type ArtifactRef,
  type Evaluation,
  type ModelRecord,
  modelRecordSchema,
  modelVersionOf,
  type Origin,
  type ServedReason,
  type TrainingState,
  type VersionRecord,
  versionRecordSchema,
} from "./model-record.ts";
import { desiredRevision, rollbackTarget, withServed, withTrial } from "./served-history.ts";

const MODELS_MAX = 1_000;
const VERSIONS_MAX = 10_000;
const artifactNames = /"sha256":"([0-9a-f]{64})"/g;

/** A version to be: what it is made of and where it comes from. */
export interface VersionDraft {
  readonly model: string;
  readonly base: ArtifactRef;
  readonly adapters?: VersionRecord["adapters"];
  readonly parent?: string;
  readonly origin: Origin;
  readonly training?: TrainingState;
}

export interface PublicSets {
  readonly replay?: ArtifactRef;
  readonly heldout?: ArtifactRef;
  readonly master?: ArtifactRef;
}

export interface CatalogueOptions {
  readonly records: RecordStore;
  readonly artifacts: ArtifactStore;
  readonly clock: Clock;
}

export class Catalogue {
  readonly #records: RecordStore;
  readonly #artifacts: ArtifactStore;
  readonly #clock: Clock;
  readonly #pinned = new Set<string>();

  constructor(options: CatalogueOptions) {
    this.#records = options.records;
    this.#artifacts = options.artifacts;
    this.#clock = options.clock;
    for (const record of this.#records.list()) this.#pin(record);
    this.#records.onWrite((record) => this.#pin(record));
  }

  models(): readonly ModelRecord[] {
    return this.#records.list("model.").map(({ value }) => modelRecordSchema.parse(value));
  }

  /** Faults: `model-not-found`. */
  model(name: string): ModelRecord {
    const record = this.#records.get(modelKey(name));
    if (record === undefined) throw new Fault("model-not-found", `there is no model ${name}`);
    return modelRecordSchema.parse(record.value);
  }

  /** Oldest first. */
  versions(model: string): readonly VersionRecord[] {
    const { versions } = this.model(model);
    return Array.from({ length: versions }, (_, i) => this.#versionAt(model, i + 1));
  }

  /** Faults: `not-found`. */
  version(version: string): VersionRecord {
    const match = /^(.+)@(\d{1,9})$/.exec(version);
    const number = Number(match?.[2] ?? 0);
    const model = match?.[1] ?? version;
    if (number < 1 || number > this.model(model).versions) {
      throw new Fault("not-found", `there is no version ${version}`, { param: "version" });
    }
    return this.#versionAt(model, number);
  }

  /**
   * Adds a version. Told again of what is the newest version already, or of the same round, it
   * returns that. The first version of a model is served at once.
   * Faults: `failed-precondition` when an artifact isn't here.
   */
  publish(draft: VersionDraft, sets: PublicSets = {}): { version: VersionRecord; isNew: boolean } {
    this.#assertHere(draft, sets);
    const key = modelKey(draft.model);
    const stored = this.#records.get(key);
    const model = stored === undefined ? this.#newModel(draft.model) : this.model(draft.model);
    const same = this.#alreadyPublished(model, draft);
    const number = same?.number ?? model.versions + 1;
    if (number > VERSIONS_MAX) throw full(`versions of ${draft.model}`, VERSIONS_MAX);
    const version = same ?? this.#writeVersion(draft, number);
    let next: ModelRecord = {
      ...model,
      versions: Math.max(model.versions, number),
      replay: sets.replay ?? model.replay,
      heldout: sets.heldout ?? model.heldout,
      master: sets.master ?? model.master,
    };
    if (next.served === null) {
      next = withServed(next, version.version, "publish", this.#clock.now());
    }
    if (JSON.stringify(next) !== JSON.stringify(model)) {
      this.#records.put(key, next, stored?.revision ?? 0);
    }
    return { version, isNew: same === undefined };
  }

  /** Notes how a version did, in place of what was noted of the same sets. */
  evaluated(version: string, evaluations: readonly Evaluation[]): VersionRecord {
    return this.#amend(version, (record) => {
      const names = new Set(evaluations.map(({ dataset }) => dataset));
      const others = record.evaluations.filter(({ dataset }) => !names.has(dataset));
      return { ...record, evaluations: [...others, ...evaluations] };
    });
  }

  /** Notes whether a version may be served. */
  judged(version: string, verdict: VersionRecord["verdict"], reason = ""): VersionRecord {
    return this.#amend(version, (record) => ({ ...record, verdict, reason }));
  }

  /**
   * Makes a version the desired one.
   * Faults: `not-found`, `conflict` for a rejected version unless forced.
   */
  serve(version: string, why: ServedReason, force = false): ModelRecord {
    const record = this.version(version);
    if (record.verdict === "rejected" && !force) {
      throw new Fault("conflict", `${version} was rejected: ${record.reason}`, {
        param: "version",
      });
    }
    return this.#change(record.model, (model) => {
      return withServed(model, version, why, this.#clock.now());
    });
  }

  /** Returns to the version served before. Faults: `conflict` when there is none. */
  rollback(name: string): ModelRecord {
    return this.#change(name, (model) => {
      const target = rollbackTarget(model);
      if (target === undefined) {
        throw new Fault("conflict", `${name} has served no version before ${model.served}`);
      }
      return withServed(model, target, "rollback", this.#clock.now());
    });
  }

  /**
   * Has some edges, `<region>/<edge>`, serve another version than the rest; null ends that.
   * Faults: `not-found`.
   */
  tryOn(name: string, trial: ModelRecord["trial"]): ModelRecord {
    if (trial !== null) this.version(trial.version);
    return this.#change(name, (model) => withTrial(model, trial));
  }

  desired(): DesiredState {
    const models = this.models();
    const served = models.flatMap((model) => model.served ?? []);
    const trials = models.flatMap(({ trial }) => trial ?? []);
    return create(DesiredStateSchema, {
      revision: desiredRevision(models),
      models: served.map((version) => modelVersionOf(this.version(version))),
      trials: trials.map(({ version, edges }) => {
        return { version: modelVersionOf(this.version(version)), edges };
      }),
    });
  }

  #newModel(name: string): ModelRecord {
    if (this.#records.list("model.").length >= MODELS_MAX) throw full("models", MODELS_MAX);
    const model = modelId(name);
    const sets = { replay: null, heldout: null, master: null };
    return { model, versions: 0, served: null, trial: null, changes: 0, history: [], ...sets };
  }

  #alreadyPublished(model: ModelRecord, draft: VersionDraft): VersionRecord | undefined {
    if (model.versions === 0) return undefined;
    const { origin } = draft;
    if (origin.kind === "published") {
      const newest = this.#versionAt(draft.model, model.versions);
      const isSame =
        newest.base.sha256 === draft.base.sha256 &&
        JSON.stringify(newest.adapters) === JSON.stringify(draft.adapters ?? []);
      return isSame ? newest : undefined;
    }
    return this.versions(draft.model).find(({ origin: other }) => {
      if (origin.kind !== "round") return JSON.stringify(other) === JSON.stringify(origin);
      if (other.kind !== "round") return false;
      return other.campaign === origin.campaign && other.round === origin.round;
    });
  }

  #writeVersion(draft: VersionDraft, number: number): VersionRecord {
    const record: VersionRecord = {
      model: draft.model,
      version: versionId(modelId(draft.model), number),
      number,
      base: draft.base,
      adapters: draft.adapters ?? [],
      createdMs: this.#clock.now(),
      parent: draft.parent ?? null,
      origin: draft.origin,
      training: draft.training ?? null,
      evaluations: [],
      verdict: draft.origin.kind === "published" ? "accepted" : "candidate",
      reason: "",
    };
    const key = versionKey(draft.model, number);
    // A record may be left from a crash between this write and the model's: nobody heard of it.
    this.#records.put(key, record, this.#records.get(key)?.revision ?? 0);
    return record;
  }

  #change(name: string, next: (model: ModelRecord) => ModelRecord): ModelRecord {
    const model = this.model(name);
    const changed = next(model);
    const key = modelKey(name);
    if (changed !== model) this.#records.put(key, changed, this.#records.get(key)!.revision);
    return changed;
  }

  #amend(version: string, next: (record: VersionRecord) => VersionRecord): VersionRecord {
    const record = this.version(version);
    const changed = next(record);
    const key = versionKey(record.model, record.number);
    this.#records.put(key, changed, this.#records.get(key)!.revision);
    return changed;
  }

  #versionAt(model: string, number: number): VersionRecord {
    return versionRecordSchema.parse(this.#records.get(versionKey(model, number))?.value);
  }

  #assertHere(draft: VersionDraft, sets: PublicSets): void {
    const named = [
      ["base", draft.base],
      ["replay", sets.replay],
      ["heldout", sets.heldout],
      ["master", sets.master],
      ...(draft.adapters ?? []).map(({ artifact }) => ["adapters", artifact] as const),
    ] as const;
    for (const [param, artifact] of named) {
      if (artifact === undefined) continue;
      const size = this.#artifacts.size(artifact.sha256 as Sha256);
      if (size === artifact.bytes) continue;
      const message =
        size === undefined
          ? `artifact ${artifact.sha256} isn't here: PUT it to /v1/artifacts/<sha256> first`
          : `artifact ${artifact.sha256} has ${size} bytes, not ${artifact.bytes}`;
      throw new Fault("failed-precondition", message, { param });
    }
  }

  /** What a version or a model refers to is never evicted. */
  #pin(record: StoredRecord): void {
    for (const [, sha256] of JSON.stringify(record.value).matchAll(artifactNames)) {
      if (this.#pinned.has(sha256!)) continue;
      this.#pinned.add(sha256!);
      this.#artifacts.pin(sha256 as Sha256);
    }
  }
}

function modelKey(model: string): string {
  return `model.${model}`;
}

function versionKey(model: string, number: number): string {
  return `version.${model}.${number}`;
}

function full(what: string, max: number): Fault {
  return new Fault("conflict", `at most ${max} ${what} are kept`);
}
