// The channel to one edge or gateway: streams through it, and measures its round trip.
import type { Client } from "@grpc/grpc-js";
import { Fault } from "../proto/fault.ts";
import { Discovery, type GetTopologyResponse } from "../proto/gen/isthmus/v1/discovery_pb.ts";
import { type GenerateRequest, Inference } from "../proto/gen/isthmus/v1/inference_pb.ts";
import type { Clock } from "../runtime/clock.ts";
import { createClient, messagesOf, type ServiceClient } from "../runtime/grpc/bridge.ts";
import { openChannel } from "../runtime/grpc/channel.ts";
import type { CallContext, OnEvent } from "../runtime/inference/backend.ts";
import type { Standing } from "../runtime/inference/inquiry.ts";

/** Of a stream that is asked how it stands. */
const ANSWER_MAX_MS = 1000;

export interface Probe {
  readonly rttMs: number;
  readonly topology: GetTopologyResponse;
}

export interface EndpointLink {
  readonly inference: ServiceClient<typeof Inference>;
  generate(request: GenerateRequest, context: CallContext, onEvent: OnEvent): Promise<void>;
  /** Asks for the topology and times the answer. Faults: deadline-exceeded, link-lost. */
  probe(timeoutMs: number): Promise<Probe>;
  close(): void;
}

export function openLink(address: string, clock: Clock): EndpointLink {
  const channel: Client = openChannel(address);
  const inference = createClient(Inference, channel);
  const discovery = createClient(Discovery, channel);
  const topologyWithin = (timeoutMs: number) =>
    discovery.getTopology({}, { deadlineMs: clock.now() + timeoutMs });
  return {
    inference,
    async generate(request, context, onEvent) {
      const { signal, deadlineMs, inquiry } = context;
      let phase: Standing["phase"] = "waiting";
      // Whoever is there looks after the stream himself: that he answers is all there is to know.
      inquiry?.answeredBy(async () => {
        await topologyWithin(ANSWER_MAX_MS);
        return { phase, silentMs: 0 };
      });
      const call = inference.generate(request, { signal, deadlineMs });
      try {
        for await (const event of messagesOf(call)) {
          if (event.event.case === "tokens") phase = "generating";
          onEvent(event);
        }
      } catch (thrown) {
        throw unlessOurs(thrown, signal);
      }
    },
    async probe(timeoutMs) {
      const startedMs = clock.monotonicMs();
      const topology = await topologyWithin(timeoutMs);
      return { rttMs: clock.monotonicMs() - startedMs, topology };
    },
    close: () => channel.close(),
  };
}

/** A stream cancelled by anyone but us was cut: the server is going away, or the link broke. */
function unlessOurs(thrown: unknown, signal: AbortSignal): unknown {
  if (!(thrown instanceof Fault) || thrown.code !== "cancelled" || signal.aborted) return thrown;
  return new Fault("link-lost", "The endpoint cut the stream.", {
    stage: "interrupted",
    cause: thrown,
  });
}
