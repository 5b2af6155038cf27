// Takes the edge of this configuration out of service and waits until nothing runs there any more:
// what a container's preStop runs beside the edge, so that streams end or move before SIGTERM. It
// asks by the region's NATS alone; nobody above is needed.
//
//   node edge-node/drain.ts --config FILE [--set key=value ...] [--grace-s SECONDS]
import { parseArgs } from "node:util";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { asFault, Fault } from "../proto/fault.ts";
import {
  type DrainCommand,
  DrainCommandSchema,
  type DrainReply,
  DrainReplySchema,
} from "../proto/gen/isthmus/v1/mesh_pb.ts";
import { subjects } from "../proto/subjects.ts";
import { systemClock } from "../runtime/clock.ts";
import { readConfig } from "../runtime/config.ts";
import { connectNats, type NatsLink } from "../runtime/nats/connection.ts";
import { type EdgeConfig, edgeConfigSchema } from "./config.ts";

const GRACE_DEFAULT_S = 30;
const GRACE_MAX_S = 3600;
/** What is left after the grace breaks off and moves at once: it needs no long second look. */
const AFTER_GRACE_MS = 3000;
const CONNECT_MAX_MS = 3000;
const REQUEST_MAX_MS = 1000;
const LOOK_MS = 250;
const EXIT_NOT_DRAINED = 1;

const config = readConfig(edgeConfigSchema);
try {
  await drain(config, readGraceS(process.argv.slice(2)) * 1000);
} catch (thrown) {
  // The edge is stopped next whatever is said here: SIGTERM makes its streams move.
  process.stderr.write(`not drained: ${asFault(thrown).message}\n`);
  process.exit(EXIT_NOT_DRAINED);
}

async function drain(config: EdgeConfig, graceMs: number): Promise<void> {
  const { name, nats: servers } = config;
  await using link = await connectNats({
    servers,
    name: `drain of edge ${name}`,
    timeoutMs: CONNECT_MAX_MS,
  });
  const endMs = systemClock.monotonicMs() + graceMs + AFTER_GRACE_MS;
  let state = await order(link, config, create(DrainCommandSchema, { drain: true, graceMs }));
  while (state.inFlight + state.relayed > 0 && systemClock.monotonicMs() < endMs) {
    await new Promise<void>((done) => systemClock.after(LOOK_MS, done));
    state = await order(link, config, create(DrainCommandSchema, { tellOnly: true }));
  }
  const { inFlight, relayed } = state;
  process.stdout.write(`${name} is drained: ${inFlight} in flight, ${relayed} relayed\n`);
}

async function order(
  link: NatsLink,
  { region, name }: EdgeConfig,
  command: DrainCommand,
): Promise<DrainReply> {
  const body = toBinary(DrainCommandSchema, command);
  const reply = await link.request(subjects.drain(region, name), body, REQUEST_MAX_MS);
  return fromBinary(DrainReplySchema, reply);
}

function readGraceS(argv: readonly string[]): number {
  const { values } = parseArgs({
    args: [...argv],
    options: { "grace-s": { type: "string" } },
    strict: false, // other flags belong to readConfig
  });
  const seconds = Number(values["grace-s"] ?? GRACE_DEFAULT_S);
  if (seconds >= 0 && seconds <= GRACE_MAX_S) return seconds;
  throw new Fault("invalid-argument", `--grace-s takes 0 to ${GRACE_MAX_S} seconds`);
}
