// Decides which told desired state counts. The state is told again and again, by parties that may
// lag behind each other, so an older revision is normally an echo and ignored.
//
// A coordinator that lost its records counts from 1 again, and then the lower revision is the
// truth. It shows in that nobody tells ours any more: when only lower ones have been heard for
// RESET_AFTER_MS (fifteen tellings), the newest of those counts. An edge that hears nothing at all
// keeps what it has for ever.
import { equals } from "@bufbuild/protobuf";
import { type DesiredState, DesiredStateSchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";

export const RESET_AFTER_MS = 30_000;

export class DesiredRevisions {
  #current: DesiredState | undefined;
  /** When a lower revision was first heard since ours was last. */
  #lowerSinceMs: number | undefined;

  constructor(initial?: DesiredState) {
    this.#current = initial;
  }

  get current(): DesiredState | undefined {
    return this.#current;
  }

  /** Returns whether what should be served has changed; `current` says to what. */
  take(told: DesiredState, nowMs: number): boolean {
    const current = this.#current;
    if (current !== undefined && told.revision < current.revision) {
      this.#lowerSinceMs ??= nowMs;
      if (nowMs - this.#lowerSinceMs < RESET_AFTER_MS) return false;
    }
    this.#lowerSinceMs = undefined;
    if (current !== undefined && equals(DesiredStateSchema, current, told)) return false;
    this.#current = told;
    return true;
  }
}
