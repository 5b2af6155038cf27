// Connects to a mesh through any of its edges or gateways, keeps a measured picture of it, and
// serves each request from the nearest healthy edge, moving the stream when that edge fails.
import { randomUUID } from "node:crypto";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { asFault, Fault, type FaultCode } from "../proto/fault.ts";
import {
  EmbedRequestSchema,
  type EmbedResponse,
  type Finished,
  GenerateRequestSchema,
  type ModelInfo,
  type Started,
} from "../proto/gen/isthmus/v1/inference_pb.ts";
import { type Clock, systemClock } from "../runtime/clock.ts";
import type { Candidate, StreamView } from "../runtime/continuation/candidate.ts";
import { createContinuation } from "../runtime/continuation/continuation.ts";
import type { CallContext } from "../runtime/inference/backend.ts";
import { systemRandom } from "../runtime/random.ts";
import type { KnownEndpoint } from "./directory.ts";
import { candidatesFor, nextOf, policyFault, type RequestNeeds } from "./endpoint-choice.ts";
import type { EndpointLink } from "./endpoint-link.ts";
import { type Generation, startGeneration } from "./generation.ts";
import { MeshPicture, PROBE_EVERY_MS } from "./mesh-picture.ts";
import { RetryBudget } from "./retry-budget.ts";

/** Endpoints tried for one unary call. */
const UNARY_TRIES_MAX = 6;
/** What speaks against the endpoint itself, not only against trying it now. */
const blames: ReadonlySet<FaultCode> = new Set(["link-lost", "engine-crashed", "unavailable"]);

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
  readonly #clock: Clock;
  readonly #picture: MeshPicture;
  readonly #budget = new RetryBudget();
  readonly #continuation;
  #closed = false;

  constructor(options: ConnectOptions) {
    const { seeds, clock = systemClock, probeEveryMs = PROBE_EVERY_MS } = options;
    this.#clock = clock;
    this.#picture = new MeshPicture({ seeds, clock, probeEveryMs, salt: systemRandom() });
    this.#continuation = createContinuation({
      clock,
      pick: (excluded, view) => this.#pick(excluded, view),
    });
  }

  start(): Promise<void> {
    return this.#picture.start();
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
    init: MessageInitShape<typeof EmbedRequestSchema>,
    settings: CallSettings = {},
  ): Promise<EmbedResponse> {
    const request = create(EmbedRequestSchema, init);
    return this.#anyOf(request, settings, (link, options) =>
      link.inference.embed(request, options),
    );
  }

  async listModels(settings: CallSettings = {}): Promise<readonly ModelInfo[]> {
    const answer = await this.#anyOf({ model: "" }, settings, (link, options) =>
      link.inference.listModels({}, options),
    );
    return answer.models;
  }

  endpoints(model: string): readonly KnownEndpoint[] {
    return this.#candidates({ model });
  }

  close(): void {
    this.#closed = true;
    this.#picture.close();
  }

  #candidates(needs: RequestNeeds): KnownEndpoint[] {
    return candidatesFor(this.#picture.directory, needs);
  }

  #pick(excluded: ReadonlySet<string>, view: StreamView): Candidate | Fault | null {
    if (this.#closed) return new Fault("cancelled", "This client is closed.");
    const forbidden = policyFault(this.#picture.directory, view.request);
    if (forbidden !== null) return forbidden;
    const found = nextOf(this.#candidates(view.request), excluded);
    if (found === undefined) return null;
    // A stream that has begun is always carried on, within its own bounds; another one that has had
    // its first try waits for a place in the budget, and fails as it failed when none comes.
    if (view.attempts === 0) this.#budget.deposit();
    else if (view.deliveredTokens === 0 && !this.#budget.withdraw()) return null;
    const { key, edge, region, address } = found;
    const link = this.#picture.link(address);
    return {
      key,
      edge,
      region,
      generate: async (request, context, onEvent) => {
        try {
          await link.generate(request, context, onEvent);
        } catch (thrown) {
          // Given up by the stream itself for its silence, or by the endpoint.
          const fault = asFault(context.signal.aborted ? context.signal.reason : thrown);
          if (blames.has(fault.code)) this.#picture.failed(key);
          throw thrown;
        }
      },
    };
  }

  /** Tries a unary call on one endpoint after another while the faults are retriable. */
  async #anyOf<T>(
    needs: RequestNeeds,
    settings: CallSettings,
    call: (link: EndpointLink, options: { signal?: AbortSignal; deadlineMs: number }) => Promise<T>,
  ): Promise<T> {
    const { signal } = settings;
    const deadlineMs = this.#deadline(settings);
    const options = signal === undefined ? { deadlineMs } : { signal, deadlineMs };
    const forbidden = policyFault(this.#picture.directory, needs);
    if (forbidden !== null) throw forbidden;
    const candidates = this.#candidates(needs);
    const excluded = new Set<string>();
    let last = new Fault("unavailable", "No edge or gateway of the mesh is known.");
    this.#budget.deposit();
    for (let tries = 0; tries < UNARY_TRIES_MAX; tries += 1) {
      const next = nextOf(candidates, excluded);
      if (next === undefined || (tries > 0 && !this.#budget.withdraw())) break;
      try {
        return await call(this.#picture.link(next.address), options);
      } catch (thrown) {
        last = asFault(thrown);
        if (!last.retriable) throw last;
        if (blames.has(last.code)) this.#picture.failed(next.key);
        excluded.add(next.key);
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
}
