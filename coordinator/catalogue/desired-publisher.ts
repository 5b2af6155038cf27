// Tells all regions what should be served: on every change, every two seconds, and when asked.
import { toBinary } from "@bufbuild/protobuf";
import { DesiredStateSchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import { subjects } from "../../proto/subjects.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { NatsLink } from "../../runtime/nats/connection.ts";
import type { RecordStore } from "../records/record-store.ts";
import type { Catalogue } from "./catalogue.ts";

const PERIOD_MS = 2_000;

export interface DesiredPublisherOptions {
  readonly catalogue: Catalogue;
  readonly records: RecordStore;
  readonly nats: NatsLink;
  readonly clock: Clock;
}

/** Starts telling; returns what stops it. */
export function publishDesired(options: DesiredPublisherOptions): () => void {
  const { catalogue, records, nats, clock } = options;
  let body: Uint8Array | undefined;
  const current = () => {
    body ??= toBinary(DesiredStateSchema, catalogue.desired());
    return body;
  };
  const tell = () => {
    // Nothing published yet means nothing to say: regions keep what they have.
    if (catalogue.models().length > 0) nats.publish(subjects.desired, current());
  };
  const stopListening = records.onWrite(({ key }) => {
    if (!key.startsWith("model.")) return;
    body = undefined;
    tell();
  });
  const answering = nats.subscribe(subjects.desiredGet, ({ respond }) => respond?.(current()));
  const timer = clock.every(PERIOD_MS, tell);
  tell();
  return () => {
    timer.cancel();
    answering.stop();
    stopListening();
  };
}
