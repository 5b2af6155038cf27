// Counts the changes of what routing reads of a heartbeat. Most beats of an idle edge tell nothing
// new, and a region with thousands of edges passes over those.
import { create, toBinary } from "@bufbuild/protobuf";
import {
  GpuStateSchema,
  type Heartbeat,
  HeartbeatSchema,
} from "../../proto/gen/isthmus/v1/mesh_pb.ts";

/** Everything that a region's RouteTable looks at, but for who it is. */
type Routed = Pick<Heartbeat, "models" | "labels" | "draining" | "gpus">;

const REVISION_MAX = 0xffff_ffff;

export class RoutingRevision {
  #told: Uint8Array | null = null;
  #revision = 0;

  /** The revision of a heartbeat that tells this; never 0. */
  of({ models, labels, draining, gpus }: Routed): number {
    const routed = create(HeartbeatSchema, { models, draining });
    if (labels !== undefined) routed.labels = labels;
    // Of the GPUs only whether there are any: their temperature routes nothing.
    if (gpus.length > 0) routed.gpus = [create(GpuStateSchema)];
    const now = toBinary(HeartbeatSchema, routed);
    if (this.#told === null || Buffer.compare(now, this.#told) !== 0) {
      this.#told = now;
      this.#revision = this.#revision === REVISION_MAX ? 1 : this.#revision + 1;
    }
    return this.#revision;
  }
}
