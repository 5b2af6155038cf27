// Demand in a whole region, from what each of its gateways tells of itself. What waits is summed
// over those that are there; what has been counted stays counted when one goes or starts anew.
import type { ScalingShare } from "../../proto/gen/isthmus/v1/scaling_pb.ts";
import { type DemandCount, noDemand } from "./demand-counts.ts";

export interface RegionDemand extends DemandCount {
  readonly held: number;
}

/** A share comes each second; with three missing its gateway holds nothing any more. */
const FRESH_MS = 3500;
const GATEWAYS_MAX = 16;
const MODELS_MAX = 1024;

interface Gateway {
  share: ScalingShare;
  atMs: number;
}

type Counts = { -readonly [K in keyof DemandCount]: DemandCount[K] };

const parts = ["routed", "late", "turnedAway"] as const;

export class ScalingExchange {
  readonly #gateways = new Map<string, Gateway>();
  /** By model, of all gateways, since this process began. */
  readonly #counted = new Map<string, Counts>();

  /** Takes what another gateway tells. Returns why it was not believed, or null. */
  take(share: ScalingShare, nowMs: number): string | null {
    const { instance, incarnation, models } = share;
    if (models.length > MODELS_MAX) return `more than ${MODELS_MAX} models`;
    const known = this.#gateways.get(instance);
    if (known === undefined && this.#gateways.size >= GATEWAYS_MAX) {
      return `more than ${GATEWAYS_MAX} gateways`;
    }
    const isSame = known?.share.incarnation === incarnation;
    if (known !== undefined && isOlder(share, known.share)) return "an older share";
    if (known === undefined) {
      // What it counted before this process began says nothing of now.
      this.#gateways.set(instance, { share, atMs: nowMs });
      return null;
    }
    for (const demand of models) {
      const before = isSame ? known.share.models.find(({ model }) => model === demand.model) : null;
      this.#count(demand.model, (part) =>
        Math.max(0, Number(demand[part]) - Number(before?.[part] ?? 0)),
      );
    }
    this.#gateways.set(instance, { share, atMs: nowMs });
    return null;
  }

  /** This gateway's own demand and that of the others. */
  demand(model: string, own: RegionDemand, nowMs: number): RegionDemand {
    const others = this.#counted.get(model) ?? noDemand;
    let { held } = own;
    for (const { share, atMs } of this.#gateways.values()) {
      if (nowMs - atMs > FRESH_MS) continue;
      held += share.models.find((demand) => demand.model === model)?.held ?? 0;
    }
    return {
      held,
      routed: own.routed + others.routed,
      late: own.late + others.late,
      turnedAway: own.turnedAway + others.turnedAway,
    };
  }

  /** Models that other gateways were asked for. */
  models(): Iterable<string> {
    return this.#counted.keys();
  }

  #count(model: string, more: (part: (typeof parts)[number]) => number): void {
    const counts = this.#counted.get(model) ?? { ...noDemand };
    for (const part of parts) counts[part] += more(part);
    if (this.#counted.size < MODELS_MAX) this.#counted.set(model, counts);
  }
}

function isOlder(share: ScalingShare, known: ScalingShare): boolean {
  if (share.incarnation !== known.incarnation) return share.incarnation < known.incarnation;
  return share.sequence <= known.sequence;
}
