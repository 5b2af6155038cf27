// The operator's routes for taking an edge out of service and back. The edge itself is asked, over
// NATS: nothing of it is kept here.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type Context, Hono } from "hono";
import { z } from "zod";
import { Fault } from "../../proto/fault.ts";
import {
  type DrainCommand,
  DrainCommandSchema,
  DrainReplySchema,
} from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import { edgeId, regionId } from "../../proto/ids.ts";
import { subjects } from "../../proto/subjects.ts";
import type { NatsLink } from "../../runtime/nats/connection.ts";
import type { Fleet } from "../rollout/fleet.ts";
import { readBody } from "./request-body.ts";

const REPLY_TIMEOUT_MS = 2000;
const GRACE_DEFAULT_MS = 30_000;
const GRACE_MAX_MS = 24 * 3600 * 1000;

const drainSchema = z.strictObject({
  graceMs: z.int().min(0).max(GRACE_MAX_MS).default(GRACE_DEFAULT_MS),
});

/** How a drain stands, as JSON. */
export interface DrainState {
  readonly draining: boolean;
  /** Requests that have a slot at the edge or wait for one. */
  readonly inFlight: number;
  /** Requests of the edge's own callers that others serve. */
  readonly relayed: number;
}

export function drainRoutes(fleet: Fleet, nats: Pick<NatsLink, "request">): Hono {
  const path = "/v1/edges/:region/:edge/drain";
  const order = async (c: Context, command: Partial<Omit<DrainCommand, "$typeName">>) => {
    const subject = subjectOf(c, fleet);
    const body = toBinary(DrainCommandSchema, create(DrainCommandSchema, command));
    const reply = await nats.request(subject, body, REPLY_TIMEOUT_MS);
    const { draining, inFlight, relayed } = fromBinary(DrainReplySchema, reply);
    return c.json({ draining, inFlight, relayed } satisfies DrainState);
  };
  const app = new Hono();
  app.get(path, (c) => order(c, { tellOnly: true }));
  app.post(path, async (c) => {
    const { graceMs } = await readBody(c, drainSchema);
    return await order(c, { drain: true, graceMs });
  });
  app.delete(path, (c) => order(c, { drain: false }));
  return app;
}

/** Faults: `not-found` for an edge that nobody has told of. */
function subjectOf(c: Context, fleet: Fleet): string {
  const { region, edge } = { region: c.req.param("region"), edge: c.req.param("edge") };
  const known = fleet.edges().find((view) => view.region === region && view.edge.edge === edge);
  if (known === undefined) {
    throw new Fault("not-found", `there is no edge ${region}/${edge}`, { param: "edge" });
  }
  return subjects.drain(regionId(known.region), edgeId(known.edge.edge));
}
