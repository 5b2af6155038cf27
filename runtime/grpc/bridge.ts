// Connects protobuf-es services to @grpc/grpc-js with types on both sides: definitions, handlers,
// clients. Streams stay grpc-js calls, so that hot loops write to them directly.

import {
  create,
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  type Message,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import * as grpc from "@grpc/grpc-js";
import { Fault } from "../../proto/fault.ts";
import { faultToStatus, statusToFault } from "./status.ts";

type In<M extends DescMethod> = MessageShape<M["input"]>;
type Out<M extends DescMethod> = MessageShape<M["output"]>;
type InInit<M extends DescMethod> = MessageInitShape<M["input"]>;
type OutInit<M extends DescMethod> = MessageInitShape<M["output"]>;

/** Picks by the kind of a method. Client streaming isn't used by any of our services. */
type ByKind<M extends DescMethod, Unary, ServerStreaming, Bidi> = {
  unary: Unary;
  server_streaming: ServerStreaming;
  bidi_streaming: Bidi;
  client_streaming: never;
}[M["methodKind"]];

/** What a handler knows about its call. */
export interface CallScope {
  /** Aborted when the caller cancels, disconnects or runs out of time. */
  readonly signal: AbortSignal;
  /** Unix milliseconds; Infinity without a deadline. */
  readonly deadlineMs: number;
  readonly metadata: grpc.Metadata;
  readonly peer: string;
}

/** A handler for each method. A stream ends when its promise settles; a rejection is its status. */
export type ServiceHandlers<S extends DescService> = {
  [K in keyof S["method"]]: ByKind<
    S["method"][K],
    (request: In<S["method"][K]>, scope: CallScope) => Promise<OutInit<S["method"][K]>>,
    (
      call: grpc.ServerWritableStream<In<S["method"][K]>, Out<S["method"][K]>>,
      scope: CallScope,
    ) => Promise<void>,
    (
      call: grpc.ServerDuplexStream<In<S["method"][K]>, Out<S["method"][K]>>,
      scope: CallScope,
    ) => Promise<void>
  >;
};

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Unix milliseconds; Infinity or unset for none. */
  readonly deadlineMs?: number;
  readonly metadata?: grpc.Metadata;
}

/**
 * A client with a function for each method: unary ones return a promise (rejected with a Fault),
 * server streams a readable call, bidirectional ones a duplex call. Both kinds of call may be
 * left without listeners; iterate them with `messagesOf` or listen to data/end/error.
 */
export type ServiceClient<S extends DescService> = {
  [K in keyof S["method"]]: ByKind<
    S["method"][K],
    (request: InInit<S["method"][K]>, options?: CallOptions) => Promise<Out<S["method"][K]>>,
    (
      request: InInit<S["method"][K]>,
      options?: CallOptions,
    ) => grpc.ClientReadableStream<Out<S["method"][K]>>,
    (options?: CallOptions) => grpc.ClientDuplexStream<In<S["method"][K]>, Out<S["method"][K]>>
  >;
};

/** A service with its handlers, ready for `startGrpcServer`. */
export interface BoundService {
  readonly service: DescService;
  readonly definition: grpc.ServiceDefinition;
  readonly handlers: grpc.UntypedServiceImplementation;
}

/** Bytes that aren't the message they should be. grpc-js would answer INTERNAL if we threw. */
class Undecodable {
  readonly reason: string;
  constructor(reason: string) {
    this.reason = reason;
  }
}

export function bindService<S extends DescService>(
  service: S,
  handlers: ServiceHandlers<S>,
): BoundService {
  const byName = handlers as Record<string, LooseHandler>;
  const entries = service.methods.map((method) => {
    const handler = byName[method.localName];
    if (handler === undefined) throw new TypeError(`${method.name} has no handler`);
    const wrapped = method.methodKind === "unary" ? unaryHandler(handler) : streamHandler(handler);
    return [method.localName, wrapped] as const;
  });
  return { service, definition: toDefinition(service), handlers: Object.fromEntries(entries) };
}

export function toDefinition(service: DescService): grpc.ServiceDefinition {
  const entries = service.methods.map((method) => [
    method.localName,
    {
      path: `/${service.typeName}/${method.name}`,
      originalName: method.localName,
      requestStream: method.methodKind === "bidi_streaming",
      responseStream: method.methodKind !== "unary",
      requestSerialize: encoder(method.input),
      requestDeserialize:
        method.methodKind === "bidi_streaming"
          ? (bytes: Buffer) => fromBinary(method.input, bytes)
          : lenientDecoder(method.input),
      responseSerialize: encoder(method.output),
      responseDeserialize: (bytes: Buffer) => fromBinary(method.output, bytes),
    },
  ]);
  return Object.fromEntries(entries);
}

export function createClient<S extends DescService>(
  service: S,
  channel: grpc.Client,
): ServiceClient<S> {
  const definition = toDefinition(service);
  const entries = service.methods.map((method) => {
    const { path, requestSerialize, responseDeserialize } = definition[method.localName]!;
    const codec = [path, requestSerialize, responseDeserialize] as const;
    const start = {
      unary: (request: unknown, options: CallOptions = {}) =>
        new Promise((resolve, reject) => {
          const call = channel.makeUnaryRequest(
            ...codec,
            request,
            ...started(options),
            (error: grpc.ServiceError | null, value?: unknown) =>
              error ? reject(statusToFault(error)) : resolve(value),
          );
          cancelOnAbort(call, options.signal);
        }),
      server_streaming: (request: unknown, options: CallOptions = {}) =>
        watched(channel.makeServerStreamRequest(...codec, request, ...started(options)), options),
      bidi_streaming: (options: CallOptions = {}) =>
        watched(channel.makeBidiStreamRequest(...codec, ...started(options)), options),
      client_streaming: () => {
        throw new TypeError(`${method.name}: client streaming isn't supported`);
      },
    }[method.methodKind];
    return [method.localName, start] as const;
  });
  return Object.fromEntries(entries) as ServiceClient<S>;
}

/** Reads a stream with `for await`; leaving the loop cancels the call. Faults: throws Faults. */
export async function* messagesOf<T>(
  call: grpc.ClientReadableStream<T> | grpc.ClientDuplexStream<never, T>,
): AsyncGenerator<T, void, undefined> {
  try {
    // A plain iterator would destroy a duplex at its half-close.
    for await (const message of call.iterator({ destroyOnReturn: false })) yield message as T;
  } catch (thrown) {
    throw statusToFault(thrown);
  } finally {
    call.cancel();
  }
}

type ServerCall = grpc.ServerUnaryCall<unknown, unknown> &
  grpc.ServerWritableStream<unknown, unknown>;
type LooseHandler = (request: unknown, scope: CallScope) => Promise<unknown>;

function unaryHandler(handler: LooseHandler): grpc.handleUnaryCall<unknown, unknown> {
  return (call, callback) => {
    const answer = async (): Promise<unknown> => {
      return handler(decoded(call.request), scopeOf(call as ServerCall));
    };
    answer().then(
      (response) => callback(null, response),
      (thrown: unknown) => callback(faultToStatus(thrown)),
    );
  };
}

function streamHandler(handler: LooseHandler) {
  return (call: ServerCall): void => {
    const scope = scopeOf(call);
    const run = async (): Promise<void> => {
      decoded(call.request);
      await handler(call, scope);
    };
    run().then(
      () => {
        if (!scope.signal.aborted) call.end();
      },
      (thrown: unknown) => {
        if (!scope.signal.aborted) call.emit("error", faultToStatus(thrown));
      },
    );
  };
}

function scopeOf(call: ServerCall): CallScope {
  const controller = new AbortController();
  // 'cancelled' comes at the close of every call, successful ones included; nobody listens then.
  call.on("cancelled", () => controller.abort());
  const deadline = call.getDeadline();
  return {
    signal: controller.signal,
    deadlineMs: typeof deadline === "number" ? deadline : deadline.getTime(),
    metadata: call.metadata,
    peer: call.getPeer(),
  };
}

function decoded(request: unknown): unknown {
  if (!(request instanceof Undecodable)) return request;
  throw new Fault("invalid-argument", `The request isn't a valid message: ${request.reason}`);
}

function encoder(schema: DescMessage): (message: Message) => Buffer {
  return (message) => {
    const whole = message.$typeName === schema.typeName ? message : create(schema, message);
    const bytes = toBinary(schema, whole);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
}

function lenientDecoder(schema: DescMessage): (bytes: Buffer) => Message | Undecodable {
  return (bytes) => {
    try {
      return fromBinary(schema, bytes);
    } catch (thrown) {
      return new Undecodable(thrown instanceof Error ? thrown.message : String(thrown));
    }
  };
}

function started(options: CallOptions): [grpc.Metadata, grpc.CallOptions] {
  const deadlineMs = options.deadlineMs ?? Infinity;
  return [
    options.metadata ?? new grpc.Metadata(),
    deadlineMs === Infinity ? {} : { deadline: deadlineMs },
  ];
}

interface Cancellable {
  cancel(): void;
  on(event: "error" | "status", listener: () => void): unknown;
}

/** Without an error listener, a failing stream that nobody reads would end the process. */
function watched<C extends Cancellable>(call: C, options: CallOptions): C {
  call.on("error", () => {});
  return cancelOnAbort(call, options.signal);
}

function cancelOnAbort<C extends { cancel(): void }>(call: C, signal?: AbortSignal): C {
  if (signal === undefined) return call;
  const cancel = (): void => call.cancel();
  if (signal.aborted) cancel();
  signal.addEventListener("abort", cancel, { once: true });
  const emitter = call as unknown as { on(event: "status", listener: () => void): unknown };
  emitter.on("status", () => signal.removeEventListener("abort", cancel));
  return call;
}
