// Which versions the engine has open, as its owner knows them: what a new process opens again.
import type { VersionSpec, VersionState } from "../engine.ts";

export class VersionBook {
  #versions: VersionState[];

  constructor(first: VersionSpec) {
    this.#versions = [{ ...first, active: true, draining: false }];
  }

  get list(): readonly VersionState[] {
    return this.#versions;
  }

  get active(): string {
    return this.#versions.find((version) => version.active)?.id ?? "";
  }

  opened(spec: VersionSpec): void {
    this.#versions = [...this.#versions, { ...spec, active: false, draining: false }];
  }

  activated(id: string): void {
    this.#versions = this.#versions.map((version) => ({ ...version, active: version.id === id }));
  }

  /** The active version never drains. */
  draining(id: string, draining: boolean): void {
    this.#versions = this.#versions.map((version) =>
      version.id === id && !version.active ? { ...version, draining } : version,
    );
  }

  closed(id: string): void {
    this.#versions = this.#versions.filter((version) => version.id !== id);
  }

  /** What was draining has nothing left to drain. */
  crashed(): void {
    this.#versions = this.#versions.filter((version) => !version.draining);
  }
}
