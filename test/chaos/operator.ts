// What an operator does to a running mesh while callers stream: rolls versions out, drains edges.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CoordinatorClient } from "../../coordinator/cli/coordinator-client.ts";
import { Fault } from "../../proto/fault.ts";
import { hashFile, uploadArtifact } from "../../sync/artifact/artifact-upload.ts";
import { DEMO_MODEL } from "./argmax-audit.ts";

const MODEL = "commands";
/** After the last tensor, where nobody reads: the same weights under another hash. */
const PADDING_BYTES = 32;

/** The mesh doesn't offer what a kind of fault takes. */
export class KindMissing extends Error {
  override readonly name = "KindMissing";
}

interface ModelView {
  readonly served: string | null;
}

export class Operator {
  readonly #coordinator: CoordinatorClient;
  readonly #signal: AbortSignal;

  constructor(coordinatorHttp: string, signal: AbortSignal) {
    this.#coordinator = new CoordinatorClient(coordinatorHttp, signal);
    this.#signal = signal;
  }

  /**
   * Publishes a second version with the same weights: what is delivered can be judged by either,
   * and only what a change of version does to a stream is tried.
   */
  async publishTwin(dir: string): Promise<void> {
    const path = join(dir, "commands-twin-q8_0.gguf");
    writeFileSync(path, Buffer.concat([readFileSync(DEMO_MODEL), Buffer.alloc(PADDING_BYTES)]));
    const file = await hashFile(path);
    await uploadArtifact(file, this.#coordinator.address, { signal: this.#signal });
    const base = { sha256: file.sha256, bytes: file.bytes, name: "commands-twin-q8_0.gguf" };
    const { version } = await this.#coordinator.post<{ version: string }>("/v1/models", {
      model: MODEL,
      base,
    });
    if (version !== `${MODEL}@2`) throw new Error(`the twin became ${version}`);
  }

  /** Rolls out the version that isn't served now. */
  async rollOther(): Promise<void> {
    const { served } = await this.#coordinator.get<ModelView>(`/v1/models/${MODEL}`);
    const version = served === `${MODEL}@1` ? `${MODEL}@2` : `${MODEL}@1`;
    await this.#coordinator.post(`/v1/models/${MODEL}/rollout`, { version });
  }

  async drain(region: string, edge: string, graceMs: number): Promise<void> {
    await this.#edge("POST", region, edge, { graceMs });
  }

  async undrain(region: string, edge: string): Promise<void> {
    await this.#edge("DELETE", region, edge);
  }

  async #edge(method: string, region: string, edge: string, body?: object): Promise<void> {
    const response = await fetch(`${this.#coordinator.address}/v1/edges/${region}/${edge}/drain`, {
      method,
      signal: this.#signal,
      headers: { "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (response.ok) return;
    if (response.status === 404 && text.includes("unknown_url")) {
      throw new KindMissing("this coordinator drains no edges");
    }
    throw new Fault("unavailable", `draining ${edge} failed: ${response.status} ${text}`);
  }
}
