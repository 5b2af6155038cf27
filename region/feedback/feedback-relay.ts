// Feedback as a gateway takes it: passed on to the edge that made the completion, which may be
// another region's, and forgotten. Nothing of it is kept or logged here.
import { asFault, Fault } from "../../proto/fault.ts";
import { Feedback, type FeedbackReceipt } from "../../proto/gen/isthmus/v1/feedback_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import {
  type CompletionName,
  completionKey,
} from "../../runtime/frontend/feedback/completion-key.ts";
import type {
  FeedbackPort,
  GivenFeedback,
  FeedbackReceipt as Receipt,
} from "../../runtime/frontend/feedback/feedback-port.ts";
import { type CallOptions, createClient, type ServiceClient } from "../../runtime/grpc/bridge.ts";
import { openChannel } from "../../runtime/grpc/channel.ts";
import { visitedMetadata } from "../../runtime/trunk/visited-metadata.ts";
import { type Maker, SERVED_MINUTES, type ServedCompletions } from "./served-completions.ts";

const ANSWER_MAX_MS = 5000;
const RETRY_AFTER_MS = 1000;

export interface FeedbackRelayOptions {
  readonly region: string;
  readonly served: ServedCompletions;
  /** host:port of an edge of this region; undefined while it isn't known. */
  readonly edgeAddress: (edge: string) => string | undefined;
  /** host:port of another region's gateway. */
  readonly regionAddress: (region: string) => string | undefined;
  /** host:port of this region's other gateways, which may know what this one doesn't. */
  readonly siblingAddresses?: () => readonly string[];
  readonly clock: Clock;
}

type Ask<T> = (client: ServiceClient<typeof Feedback>, call: CallOptions) => Promise<T>;

export function createFeedbackRelay(options: FeedbackRelayOptions): FeedbackPort {
  const { region, served, clock, siblingAddresses = () => [] } = options;
  const askAt = async <T>(address: string, visited: readonly string[], ask: Ask<T>) => {
    const channel = openChannel(address);
    try {
      return await ask(createClient(Feedback, channel), {
        deadlineMs: clock.now() + ANSWER_MAX_MS,
        metadata: visitedMetadata([...visited, region]),
      });
    } finally {
      channel.close();
    }
  };
  /** Another gateway of this region may have served it; each is asked once, by the first alone. */
  const askSiblings = async <T>(name: CompletionName, visited: readonly string[], ask: Ask<T>) => {
    if (visited.includes(region)) throw unknown(name);
    for (const address of siblingAddresses()) {
      try {
        return await askAt(address, visited, ask);
      } catch (thrown) {
        if (!isElsewhere(asFault(thrown))) throw thrown;
      }
    }
    throw unknown(name);
  };
  const relay = async <T>(name: CompletionName, visited: readonly string[], ask: Ask<T>) => {
    const maker = served.makerOf(completionKey(name.id, name.choice));
    if (maker === undefined) return await askSiblings(name, visited, ask);
    const isOurs = maker.region === region;
    // The region that serves its own edge is the last: no feedback goes in circles.
    if (!isOurs && visited.some((passed) => passed !== region)) throw unknown(name);
    const address = isOurs ? options.edgeAddress(maker.edge) : options.regionAddress(maker.region);
    if (address === undefined) throw away(maker);
    try {
      return await askAt(address, visited, ask);
    } catch (thrown) {
      const fault = asFault(thrown);
      throw isAway(fault) ? away(maker, fault) : fault;
    }
  };
  return {
    async give(feedback, visited = []) {
      const request = requestOf(feedback);
      const ask: Ask<Receipt> = async (client, call) =>
        receiptOf((await client.giveFeedback(request, call)).receipt);
      return await relay(feedback, visited, ask);
    },
    async get({ id, choice }, visited = []) {
      const ask: Ask<Receipt> = async (client, call) =>
        receiptOf((await client.getFeedback({ id, choice }, call)).receipt);
      return await relay({ id, choice }, visited, ask);
    },
    async remove({ id, choice }, visited = []) {
      await relay({ id, choice }, visited, (client, call) =>
        client.deleteFeedback({ id, choice }, call),
      );
    },
  };
}

function isAway({ code }: Fault): boolean {
  return code === "link-lost" || code === "deadline-exceeded";
}

/** Whether another gateway may still know. */
function isElsewhere(fault: Fault): boolean {
  return fault.code === "not-found" || isAway(fault);
}

function requestOf({ id, choice, lesson, rating }: GivenFeedback) {
  const said = { id, choice, ...(rating !== null && { rating }) };
  if (lesson === null) return said;
  if (lesson.kind === "correction") {
    return { ...said, lesson: { case: "correction", value: lesson.text } as const };
  }
  if (lesson.text === null) return { ...said, lesson: { case: "accepted", value: true } as const };
  return { ...said, lesson: { case: "acceptedText", value: lesson.text } as const };
}

function receiptOf(receipt: FeedbackReceipt | undefined): Receipt {
  if (receipt === undefined) throw new Fault("internal", "an edge answered without a receipt");
  const { lesson, rating, givenMs } = receipt;
  return {
    ...receipt,
    lesson: lesson === "correction" || lesson === "accepted" ? lesson : "",
    rating: rating ?? null,
    givenMs: Number(givenMs),
  };
}

function unknown({ id }: CompletionName): Fault {
  const why =
    `no completion ${id} is known to this gateway: it remembers for ${SERVED_MINUTES} minutes ` +
    "which edge made one; later, ask that edge itself";
  return new Fault("not-found", why, { param: "id" });
}

function away({ region, edge }: Maker, cause?: Fault): Fault {
  const why = `${region}/${edge}, which made the completion, can't be reached now`;
  return new Fault("unavailable", why, { retryAfterMs: RETRY_AFTER_MS, cause });
}
