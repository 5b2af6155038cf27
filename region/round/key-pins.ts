// Which public key belongs to which edge name: the first one seen, for ever, across restarts.
import { join } from "node:path";
import type { Fence } from "../lease/fence.ts";
import { EventLog } from "./event-log.ts";

export class KeyPins {
  readonly #log: EventLog;
  readonly #keys: Map<string, Uint8Array>;

  private constructor(log: EventLog, keys: Map<string, Uint8Array>) {
    this.#log = log;
    this.#keys = keys;
  }

  static async open(dir: string, fence?: Fence): Promise<KeyPins> {
    const { log, records } = await EventLog.open(join(dir, "edge-keys.log"), fence);
    const pins = records as readonly { readonly edge: string; readonly key: string }[];
    const keys = new Map<string, Uint8Array>();
    // The first record of a name counts, as it did when it was written.
    for (const { edge, key } of pins) {
      if (!keys.has(edge)) keys.set(edge, Uint8Array.from(Buffer.from(key, "hex")));
    }
    return new KeyPins(log, keys);
  }

  get(edge: string): Uint8Array | null {
    return this.#keys.get(edge) ?? null;
  }

  /** Pins the key if the edge has none yet, durably; says whether the key is the edge's. */
  async pin(edge: string, key: Uint8Array): Promise<boolean> {
    const known = this.#keys.get(edge);
    if (known) return Buffer.from(known).equals(key);
    // Set first, so that a second key can't slip in while the disk is busy.
    this.#keys.set(edge, key);
    await this.#log.append([{ edge, key: Buffer.from(key).toString("hex") }]);
    return true;
  }

  close(): Promise<void> {
    return this.#log.close();
  }
}
