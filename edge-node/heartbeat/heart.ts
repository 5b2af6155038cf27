// Sends this edge's heartbeats for as long as it lives, whatever its engines do, and last words
// when it leaves.
import { create, toBinary } from "@bufbuild/protobuf";
import {
  type Heartbeat,
  HeartbeatSchema,
  type ModelState,
} from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { Clock, Timer } from "../../runtime/clock.ts";
import { HeartbeatPace } from "./heartbeat-pace.ts";
import { RoutingRevision } from "./routing-revision.ts";

/** What heartbeats tell that changes from one to the next. */
export type Vitals = Pick<
  Heartbeat,
  "memoryTotalBytes" | "memoryFreeBytes" | "rssBytes" | "gpus" | "inFlight" | "draining"
> &
  Pick<Heartbeat, "training" | "desiredRevision"> &
  Partial<Pick<Heartbeat, "drift" | "health">> & { readonly models: ModelState[] };

/** Who sends them; the same in every one. */
export type Identity = Pick<
  Heartbeat,
  "region" | "edge" | "incarnation" | "grpc" | "http" | "publicKey" | "labels"
>;

export interface HeartOptions {
  readonly identity: Identity;
  readonly vitals: () => Vitals;
  /** Sends one; a lost one does no harm. */
  readonly publish: (body: Uint8Array) => void;
  readonly clock: Clock;
}

export class Heart {
  readonly #options: HeartOptions;
  readonly #pace = new HeartbeatPace();
  readonly #routing = new RoutingRevision();
  #sequence = 0n;
  #timer: Timer | undefined;
  #hasStopped = false;

  /** Begins to beat. */
  constructor(options: HeartOptions) {
    this.#options = options;
    this.#schedule();
  }

  /** Something changed: tell it soon. */
  changed(): void {
    if (this.#hasStopped) return;
    this.#pace.changed();
    this.#schedule();
  }

  /** Says goodbye and falls silent. */
  stop(): void {
    if (this.#hasStopped) return;
    this.#hasStopped = true;
    this.#timer?.cancel();
    this.#send(true);
  }

  #schedule(): void {
    const { clock } = this.#options;
    this.#timer?.cancel();
    const delayMs = Math.max(0, this.#pace.dueMs - clock.monotonicMs());
    this.#timer = clock.after(delayMs, () => {
      this.#send(false);
      this.#schedule();
    });
  }

  #send(leaving: boolean): void {
    const { identity, vitals, publish, clock } = this.#options;
    this.#sequence++;
    const sequence = this.#sequence;
    const heartbeat = create(HeartbeatSchema, { ...identity, ...vitals(), sequence, leaving });
    heartbeat.routingRevision = this.#routing.of(heartbeat);
    this.#pace.sent(clock.monotonicMs());
    publish(toBinary(HeartbeatSchema, heartbeat));
  }
}
