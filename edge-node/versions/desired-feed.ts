// Hears over NATS what this edge should serve: asks once when the link is up, and listens to what
// the region tells again and again.
import { fromBinary } from "@bufbuild/protobuf";
import { type DesiredState, DesiredStateSchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { RegionId } from "../../proto/ids.ts";
import { subjects } from "../../proto/subjects.ts";
import type { Log } from "../../runtime/log.ts";
import type { NatsLink } from "../../runtime/nats/connection.ts";

const ASK_TIMEOUT_MS = 1000;

export interface DesiredFeedOptions {
  readonly link: NatsLink;
  readonly region: RegionId;
  readonly log: Log;
  readonly onDesired: (desired: DesiredState) => void;
}

/** Listens until the returned function is called. */
export function followDesired(options: DesiredFeedOptions): () => void {
  const { link, region, log } = options;
  const take = (body: Uint8Array) => {
    let desired: DesiredState;
    try {
      desired = fromBinary(DesiredStateSchema, body);
    } catch (thrown) {
      log.warn({ err: thrown }, "what was told as the desired state can't be read");
      return;
    }
    options.onDesired(desired);
  };
  const subscription = link.subscribe(subjects.desiredOf(region), ({ body }) => take(body));
  const ask = async () => {
    await link.connected;
    take(await link.request(subjects.desiredGetOf(region), new Uint8Array(), ASK_TIMEOUT_MS));
  };
  // Nobody there to ask yet: the region will tell of itself.
  ask().catch((thrown: unknown) => log.debug({ err: thrown }, "no answer about the desired state"));
  return () => subscription.stop();
}
