// Passes the coordinator's desired state on to the region's edges, again and again, and goes on
// doing so with the coordinator away, across restarts of either.
import { toBinary } from "@bufbuild/protobuf";
import { type DesiredState, DesiredStateSchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { RegionId } from "../../proto/ids.ts";
import { subjects } from "../../proto/subjects.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { NatsLink } from "../../runtime/nats/connection.ts";
import { newer, readDesired } from "./desired-state.ts";
import type { DesiredVault } from "./desired-vault.ts";

const PERIOD_MS = 2000;
const ASK_TIMEOUT_MS = 1000;

export interface DesiredRelayOptions {
  readonly region: RegionId;
  readonly nats: NatsLink;
  readonly vault: DesiredVault;
  readonly clock: Clock;
  readonly log: Log;
  /** Whether it is for this process to tell the edges; always when left out. */
  readonly speaks?: () => boolean;
}

export interface DesiredRelay {
  /** The newest known; null before the first. */
  readonly desired: DesiredState | null;
  stop(): void;
}

/** Reads what was kept, then relays until `stop`. */
export async function startDesiredRelay(options: DesiredRelayOptions): Promise<DesiredRelay> {
  const relay = new Relay(options);
  await relay.start();
  return relay;
}

class Relay implements DesiredRelay {
  desired: DesiredState | null = null;
  readonly #options: DesiredRelayOptions;
  readonly #stops: (() => void)[] = [];
  /** States are taken one after another: each is durable before the next is looked at. */
  #taking: Promise<void> = Promise.resolve();
  #isExchanging = false;
  #stopped = false;

  constructor(options: DesiredRelayOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { region, nats, clock, vault } = this.#options;
    this.desired = await vault.readFile();
    const heard = nats.subscribe(subjects.desired, ({ body }) => this.#hear(body));
    const asked = nats.subscribe(subjects.desiredGetOf(region), ({ respond }) => {
      if (this.desired !== null) respond?.(toBinary(DesiredStateSchema, this.desired));
    });
    const tick = clock.every(PERIOD_MS, () => this.#tick());
    this.#stops.push(
      () => heard.stop(),
      () => asked.stop(),
      () => tick.cancel(),
    );
    this.#tick();
    void nats.connected.then(
      () => this.#ask(),
      () => {}, // closed before it was ever up: nothing to ask
    );
  }

  stop(): void {
    this.#stopped = true;
    for (const stop of this.#stops) stop();
  }

  #tick(): void {
    this.#tell();
    void this.#exchange();
  }

  #tell(): void {
    const { nats, region, speaks } = this.#options;
    if (this.desired === null || speaks?.() === false) return;
    nats.publish(subjects.desiredOf(region), toBinary(DesiredStateSchema, this.desired));
  }

  #hear(body: Uint8Array): Promise<void> {
    const desired = readDesired(body);
    if (typeof desired !== "string") return this.#take(desired);
    this.#options.log.warn({ why: desired }, "a desired state was not believed");
    return Promise.resolve();
  }

  #take(offered: DesiredState): Promise<void> {
    this.#taking = this.#taking.then(async () => {
      if (this.#stopped || newer(this.desired, offered) === this.desired) return;
      try {
        await this.#options.vault.writeFile(offered);
      } catch (thrown) {
        // Told again within two seconds; serving what is known goes on meanwhile.
        this.#options.log.error({ err: thrown }, "the desired state can't be kept");
        return;
      }
      this.desired = offered;
      this.#options.log.info({ revision: String(offered.revision) }, "desired state");
      this.#tick();
    });
    return this.#taking;
  }

  async #ask(): Promise<void> {
    try {
      const { nats } = this.#options;
      const body = await nats.request(subjects.desiredGet, new Uint8Array(), ASK_TIMEOUT_MS);
      if (body.byteLength > 0) await this.#hear(body);
    } catch (thrown) {
      this.#options.log.debug({ err: thrown }, "the coordinator doesn't answer; it will tell");
    }
  }

  /** One at a time; JetStream may be away for long. */
  async #exchange(): Promise<void> {
    if (this.#isExchanging || this.#stopped) return;
    this.#isExchanging = true;
    try {
      const newest = await this.#options.vault.exchange(this.desired);
      if (newest !== null && newest !== this.desired) await this.#take(newest);
    } catch (thrown) {
      this.#options.log.debug({ err: thrown }, "the region's KV isn't there; the file is");
    } finally {
      this.#isExchanging = false;
    }
  }
}
