// Connects to a mesh through any of its edges or gateways, keeps a measured picture of it, and
// serves each request from the nearest healthy edge, moving the stream when that edge fails.
import { randomUUID } from "node:crypto";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { asFault, Fault } from "../proto/fault.ts";
import {
  type EmbedRequestSchema,
  type EmbedResponse,
  type Finished,
  GenerateRequestSchema,
  type ModelInfo,
  type Started,
} from "../proto/gen/isthmus/v1/inference_pb.ts";
import { type Clock, systemClock } from "../runtime/clock.ts";
import type { Candidate } from "../runtime/continuation/candidate.ts";
import { createContinuation } from "../runtime/continuation/continuation.ts";
import type { CallContext } from "../runtime/inference/backend.ts";
import {
  candidatesFor,
  type Directory,
  emptyDirectory,
  failed,
  type KnownEndpoint,
  learn,
  measured,
} from "./directory.ts";
import { type EndpointLink, openLink } from "./endpoint-link.ts";
import { type Generation, startGeneration } from "./generation.ts";

const CONNECT_TIMEOUT_MS = 5000;
const PROBE_TIMEOUT_MS = 1500;
const PROBE_EVERY_MS = 2000;
/** Endpoints probed in one turn: the nearest ones, which are the ones that matter. */
const PROBED_MAX = 16;

export interface ConnectOptions {
  /** host:port of the gRPC door of some edges or gateways; one that answers is enough. */
  readonly seeds: readonly string[];
  readonly clock?: Clock;
  readonly probeEveryMs?: number;
}

export interface CallSettings {
  readonly signal?: AbortSignal;
  /** Milliseconds from now after which the answer is of no use. */
  readonly timeoutMs?: number;
}

export interface Completion {
  readonly text: string;
  readonly ids: readonly number[];
  readonly started: Started;
  /** Reason, usage, and where the stream moved. */
  readonly finished: Finished;
}

type GenerateInit = MessageInitShape<typeof GenerateRequestSchema>;

export interface MeshClient {
  /** Streams a completion; it moves and resumes by itself. */
  generate(request: GenerateInit, settings?: CallSettings): Generation;
  /** The whole completion at once. */
  complete(request: GenerateInit, settings?: CallSettings): Promise<Completion>;
  embed(
    request: MessageInitShape<typeof EmbedRequestSchema>,
    settings?: CallSettings,
  ): Promise<EmbedResponse>;
  listModels(settings?: CallSettings): Promise<readonly ModelInfo[]>;
  /** What is known of the mesh now, in the order in which a request for `model` would try it. */
  endpoints(model: string): readonly KnownEndpoint[];
  close(): void;
}

/**
 * Connects through the first seeds that answer and measures the endpoints they name.
 * Faults: invalid-argument without seeds, unavailable when none answers.
 */
export async function connect(options: ConnectOptions): Promise<MeshClient> {
  if (options.seeds.length === 0) {
    throw new Fault("invalid-argument", "Give at least one seed: host:port of an edge or gateway.");
  }
  const client = new ConnectedClient(options);
  try {
    await client.start();
  } catch (thrown) {
    client.close();
    throw thrown;
  }
  return client;
}

class ConnectedClient implements MeshClient {
  readonly #seeds: readonly string[];
  readonly #clock: Clock;
  readonly #probeEveryMs: number;
  readonly #links = new Map<string, EndpointLink>();
  readonly #continuation;
  #directory: Directory = emptyDirectory;
  #timer: { cancel(): void } | null = null;
  #probing = false;
  #closed = false;

  constructor(options: ConnectOptions) {
    this.#seeds = options.seeds;
    this.#clock = options.clock ?? systemClock;
    this.#probeEveryMs = options.probeEveryMs ?? PROBE_EVERY_MS;
    this.#continuation = createContinuation({
      clock: this.#clock,
      pick: (excluded, view) => this.#pick(excluded, view.request.model),
      onMove: (key) => this.#note(failed(this.#directory, key)),
    });
  }

  async start(): Promise<void> {
    const answers = await this.#askSeeds();
    if (!answers.some((answer) => answer.status === "fulfilled")) {
      const why = answers.map((a) => (a.status === "rejected" ? asFault(a.reason).message : ""));
      const message =
        `None of the seeds answered (${this.#seeds.join(", ")}). Check that the mesh runs and ` +
        "that these are gRPC addresses (host:port) of its edges or gateways.";
      throw new Fault("unavailable", message, { cause: new Error(why.join("; ")) });
    }
    await this.#probeAll();
    this.#timer = this.#clock.every(this.#probeEveryMs, () => void this.#probeAll());
  }

  generate(init: GenerateInit, settings: CallSettings = {}): Generation {
    const request = create(GenerateRequestSchema, init);
    return startGeneration(
      (onEvent, signal) =>
        this.#continuation.generate(request, this.#context(settings, signal), onEvent),
      settings.signal,
    );
  }

  async complete(init: GenerateInit, settings: CallSettings = {}): Promise<Completion> {
    let text = "";
    const ids: number[] = [];
    let started: Started | undefined;
    let finished: Finished | undefined;
    for await (const { event } of this.generate(init, settings)) {
      if (event.case === "started") started = event.value;
      if (event.case === "tokens") {
        text += event.value.text;
        ids.push(...event.value.ids);
      }
      if (event.case === "finished") finished = event.value;
    }
    if (started === undefined || finished === undefined) {
      throw new Fault("internal", "The stream ended without its first or last event.");
    }
    return { text: text + finished.text, ids, started, finished };
  }

  embed(
    request: MessageInitShape<typeof EmbedRequestSchema>,
    settings: CallSettings = {},
  ): Promise<EmbedResponse> {
    return this.#anyOf(request.model ?? "", settings, (link, options) =>
      link.inference.embed(request, options),
    );
  }

  async listModels(settings: CallSettings = {}): Promise<readonly ModelInfo[]> {
    const answer = await this.#anyOf("", settings, (link, options) =>
      link.inference.listModels({}, options),
    );
    return answer.models;
  }

  endpoints(model: string): readonly KnownEndpoint[] {
    return candidatesFor(this.#directory, model);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
  }

  #pick(excluded: ReadonlySet<string>, model: string): Candidate | Fault {
    if (this.#closed) return new Fault("cancelled", "This client is closed.");
    const found = this.endpoints(model).find((endpoint) => !excluded.has(endpoint.key));
    if (found === undefined) {
      return new Fault("unavailable", "No edge or gateway of the mesh answers now.");
    }
    const { key, edge, region, address } = found;
    const link = this.#link(address);
    return {
      key,
      edge,
      region,
      generate: (request, context, onEvent) => link.generate(request, context, onEvent),
    };
  }

  /** Tries a unary call on one endpoint after another while the faults are retriable. */
  async #anyOf<T>(
    model: string,
    settings: CallSettings,
    call: (link: EndpointLink, options: { signal?: AbortSignal; deadlineMs: number }) => Promise<T>,
  ): Promise<T> {
    const { signal } = settings;
    const deadlineMs = this.#deadline(settings);
    let last = new Fault("unavailable", "No edge or gateway of the mesh is known.");
    for (const { key, address } of this.endpoints(model)) {
      try {
        const options = signal === undefined ? { deadlineMs } : { signal, deadlineMs };
        return await call(this.#link(address), options);
      } catch (thrown) {
        last = asFault(thrown);
        if (!last.retriable) throw last;
        this.#note(failed(this.#directory, key));
      }
    }
    throw last;
  }

  #context(settings: CallSettings, signal: AbortSignal): CallContext {
    return {
      signal,
      requestId: randomUUID(),
      visitedRegions: [],
      deadlineMs: this.#deadline(settings),
    };
  }

  #deadline({ timeoutMs }: CallSettings): number {
    return timeoutMs === undefined ? Number.POSITIVE_INFINITY : this.#clock.now() + timeoutMs;
  }

  #askSeeds(): Promise<PromiseSettledResult<void>[]> {
    const asked = this.#seeds.map(async (seed) => {
      const { topology } = await this.#link(seed).probe(CONNECT_TIMEOUT_MS);
      this.#note(learn(this.#directory, topology));
    });
    return Promise.allSettled(asked);
  }

  /** Measures the nearest endpoints, learns from one that answered, and forgets unused links. */
  async #probeAll(): Promise<void> {
    if (this.#probing || this.#closed) return;
    this.#probing = true;
    const probes = nearestOf(this.endpoints("")).map(async ({ key, address }) => {
      try {
        const probe = await this.#link(address).probe(PROBE_TIMEOUT_MS);
        this.#note(measured(this.#directory, key, probe.rttMs));
        return probe;
      } catch (thrown) {
        this.#note(failed(this.#directory, key));
        throw thrown;
      }
    });
    const answers = await Promise.allSettled(probes);
    const nearest = answers
      .flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : []))
      .sort((a, b) => a.rttMs - b.rttMs)[0];
    if (nearest !== undefined) this.#note(learn(this.#directory, nearest.topology));
    else await this.#askSeeds();
    this.#closeUnused();
    this.#probing = false;
  }

  #note(directory: Directory): void {
    this.#directory = directory;
  }

  #link(address: string): EndpointLink {
    let link = this.#links.get(address);
    if (link === undefined) {
      link = openLink(address, this.#clock);
      this.#links.set(address, link);
    }
    return link;
  }

  #closeUnused(): void {
    const used = new Set([...this.#directory.endpoints.values()].map(({ address }) => address));
    for (const [address, link] of this.#links) {
      if (used.has(address) || this.#seeds.includes(address)) continue;
      link.close();
      this.#links.delete(address);
    }
  }
}

/** The nearest endpoints; those not measured yet come first, so that each gets its turn. */
function nearestOf(endpoints: readonly KnownEndpoint[]): KnownEndpoint[] {
  const urgency = ({ rttMs }: KnownEndpoint) => (Number.isFinite(rttMs) ? rttMs : -1);
  return endpoints.toSorted((a, b) => urgency(a) - urgency(b)).slice(0, PROBED_MAX);
}
