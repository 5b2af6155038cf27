// The other processes of a region that runs as a pair: each tells of itself over core NATS, which
// is there when the lease's store is not.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type RegionInstance, RegionInstanceSchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import { type RegionId, regionId } from "../../proto/ids.ts";
import { subjects } from "../../proto/subjects.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { NatsLink } from "../../runtime/nats/connection.ts";

const PERIOD_MS = 1000;
/** Silence after which one is taken to be gone. */
const SILENT_MS = 3500;
const SIBLINGS_MAX = 8;

export interface SiblingsOptions {
  readonly region: RegionId;
  readonly nats: Pick<NatsLink, "publish" | "subscribe">;
  /** What is told of this process. */
  readonly self: () => RegionInstance;
  readonly clock: Clock;
  /** One that was heard is heard no more, or has started anew. */
  readonly onLost: (instance: string) => void;
}

interface Heard {
  readonly told: RegionInstance;
  readonly heardMs: number;
}

export class Siblings {
  readonly #options: SiblingsOptions;
  readonly #heard = new Map<string, Heard>();
  readonly #stops: (() => void)[] = [];

  constructor(options: SiblingsOptions) {
    this.#options = options;
    const { region, nats, clock } = options;
    const hearing = nats.subscribe(subjects.pair(region), ({ body }) => this.#hear(body));
    const tick = clock.every(PERIOD_MS, () => this.#onTick());
    this.#stops.push(
      () => hearing.stop(),
      () => tick.cancel(),
    );
    this.#onTick();
  }

  /** Those heard lately, this process among them, by name. */
  list(): readonly RegionInstance[] {
    const others = [...this.#heard.values()].map(({ told }) => told);
    return [...others, this.#options.self()].sort((a, b) => (a.instance < b.instance ? -1 : 1));
  }

  others(): readonly RegionInstance[] {
    return [...this.#heard.values()].map(({ told }) => told);
  }

  stop(): void {
    for (const stop of this.#stops) stop();
  }

  #onTick(): void {
    const { region, nats, self, clock, onLost } = this.#options;
    nats.publish(subjects.pair(region), toBinary(RegionInstanceSchema, self()));
    const sinceMs = clock.monotonicMs() - SILENT_MS;
    for (const [name, { heardMs }] of [...this.#heard]) {
      if (heardMs >= sinceMs) continue;
      this.#heard.delete(name);
      onLost(name);
    }
  }

  #hear(body: Uint8Array): void {
    const told = fromBinary(RegionInstanceSchema, body);
    const { region, self, clock, onLost } = this.#options;
    const { instance } = told;
    if (regionId(told.region) !== region || instance === self().instance) return;
    const known = this.#heard.get(instance);
    if (known === undefined && this.#heard.size >= SIBLINGS_MAX) return;
    this.#heard.set(instance, { told, heardMs: clock.monotonicMs() });
    if (known !== undefined && known.told.incarnation !== told.incarnation) onLost(instance);
  }
}

export function instanceOf(init: Omit<RegionInstance, "$typeName" | "$unknown">): RegionInstance {
  return create(RegionInstanceSchema, init);
}
