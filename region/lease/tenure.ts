// One stretch of time in which this process has the single duties: from its claim on the region's
// folder until its lease runs out or another process claims the folder. Once over, it stays over.
import { Fault } from "../../proto/fault.ts";
import type { Fence } from "./fence.ts";
import type { FolderClaim } from "./folder-claim.ts";

const RETRY_AFTER_MS = 1000;

export interface TenureOptions {
  readonly claim: FolderClaim;
  /** Whether the lease is this process's now. */
  readonly acts: () => boolean;
  readonly onOver: () => void;
}

export class Tenure implements Fence {
  readonly #options: TenureOptions;
  #over = false;

  constructor(options: TenureOptions) {
    this.#options = options;
  }

  get epoch(): number {
    return this.#options.claim.number;
  }

  get isHeld(): boolean {
    if (this.#over) return false;
    const { acts, claim, onOver } = this.#options;
    if (acts() && claim.isHeld()) return true;
    this.#over = true;
    onOver();
    return false;
  }

  assertHeld(): void {
    if (!this.isHeld) throw noDuty();
  }
}

/** What a process answers that is asked for what only another one may do now. */
export function noDuty(): Fault {
  const why = "another instance of the region is about to do this: come again";
  return new Fault("unavailable", why, { retryAfterMs: RETRY_AFTER_MS });
}
