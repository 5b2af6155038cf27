// The facts of a regional round, as they stand in its log. Folding them gives the round's state.
import { fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import {
  type DeltaManifest,
  DeltaManifestSchema,
  type Partial$ as Partial,
  PartialSchema,
  type RoundOffer,
  RoundOfferSchema,
} from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import type { ScreeningReason } from "../../sync/delta/screening.ts";

export type RoundEvent =
  | { readonly kind: "opened"; readonly atMs: number; readonly offer: RoundOffer }
  | { readonly kind: "invited"; readonly edge: string }
  /** Not invited to train: it shows another key than the one pinned for its name. */
  | { readonly kind: "impostor"; readonly edge: string }
  | { readonly kind: "accepted"; readonly edge: string }
  | { readonly kind: "declined"; readonly edge: string; readonly reason: string }
  | { readonly kind: "failed"; readonly edge: string; readonly reason: string }
  | { readonly kind: "included"; readonly edge: string; readonly manifest: DeltaManifest }
  | {
      readonly kind: "refused";
      readonly edge: string;
      readonly reason: ScreeningReason;
      readonly detail: string;
      readonly attributable: boolean;
      readonly manifest: DeltaManifest;
    }
  | {
      readonly kind: "closed";
      readonly why: "complete" | "goal" | "deadline" | "superseded";
      /** Absent in logs of before it was noted. */
      readonly atMs?: number;
    }
  /** A delta came when an asynchronous round had closed without it: it counts in a later one. */
  | { readonly kind: "carried"; readonly edge: string; readonly manifest: DeltaManifest }
  /** A delta came when the round had closed without it. */
  | { readonly kind: "came-late"; readonly edge: string; readonly atMs: number }
  | { readonly kind: "summed"; readonly partial: Partial }
  | { readonly kind: "abandoned"; readonly reason: string }
  | { readonly kind: "taken" };

/** How far an edge is: seen, shown, and not worth a line in the log. */
export interface TrainingStep {
  readonly edge: string;
  readonly step: number;
  readonly steps: number;
  readonly loss: number;
}

export function encodeEvent(event: RoundEvent): JsonValue {
  switch (event.kind) {
    case "opened":
      return { ...event, offer: toJson(RoundOfferSchema, event.offer) };
    case "included":
    case "carried":
    case "refused":
      return { ...event, manifest: toJson(DeltaManifestSchema, event.manifest) };
    case "summed":
      return { ...event, partial: toJson(PartialSchema, event.partial) };
    default:
      return { ...event };
  }
}

/** Requires a record that `encodeEvent` made: the log's checksums vouch for it. */
export function decodeEvent(record: unknown): RoundEvent {
  const event = record as RoundEvent;
  const json = record as Record<string, JsonValue>;
  switch (event.kind) {
    case "opened":
      return { ...event, offer: fromJson(RoundOfferSchema, json.offer!) };
    case "included":
    case "carried":
    case "refused":
      return { ...event, manifest: fromJson(DeltaManifestSchema, json.manifest!) };
    case "summed":
      return { ...event, partial: fromJson(PartialSchema, json.partial!) };
    default:
      return event;
  }
}
