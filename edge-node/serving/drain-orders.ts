// Hears over NATS when an operator drains this edge, takes that back, or asks how it stands.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  type DrainCommand,
  DrainCommandSchema,
  DrainReplySchema,
} from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { EdgeId, RegionId } from "../../proto/ids.ts";
import { subjects } from "../../proto/subjects.ts";
import type { Log } from "../../runtime/log.ts";
import type { NatsLink } from "../../runtime/nats/connection.ts";
import type { Drain } from "./drain.ts";

export interface DrainOrdersOptions {
  readonly link: NatsLink;
  readonly region: RegionId;
  readonly edge: EdgeId;
  readonly drain: Drain;
  /** Requests that have a slot or wait for one. */
  readonly inFlight: () => number;
  /** Requests of this edge's own callers that others serve. */
  readonly relayed: () => number;
  readonly log: Log;
}

/** Listens until the returned function is called. */
export function followDrainOrders(options: DrainOrdersOptions): () => void {
  const { link, region, edge, drain, inFlight, relayed, log } = options;
  const subscription = link.subscribe(subjects.drain(region, edge), ({ body, respond }) => {
    const command = read(body, log);
    if (command === undefined) return;
    if (!command.tellOnly) {
      if (command.drain) drain.begin(command.graceMs);
      else drain.takeBack();
    }
    const reply = { draining: drain.isDraining, inFlight: inFlight(), relayed: relayed() };
    respond?.(toBinary(DrainReplySchema, create(DrainReplySchema, reply)));
  });
  return () => subscription.stop();
}

function read(body: Uint8Array, log: Log): DrainCommand | undefined {
  try {
    return fromBinary(DrainCommandSchema, body);
  } catch (thrown) {
    log.warn({ err: thrown }, "an order to drain can't be read");
    return undefined;
  }
}
