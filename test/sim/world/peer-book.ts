// What a simulated gateway knows of the other regions: their trunks and what they said last.
import type { RegionModel } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { FailurePenalty } from "../../../region/route/failure-penalty.ts";
import type { PeerView } from "../../../region/spill/peer-choice.ts";
import { SpillLedger } from "../../../region/spill/spill-ledger.ts";
import type { SimTrunk } from "./sim-trunk.ts";

/** As the real registry has it: older than this, a summary says nothing any more. */
const SUMMARY_FRESH_MS = 5000;

export interface PeerLink {
  readonly trunk: SimTrunk;
  readonly jurisdictions: readonly string[];
}

interface Told {
  readonly model: RegionModel;
  readonly atMs: number;
}

export class PeerBook {
  readonly ledger = new SpillLedger();
  readonly penalty = new FailurePenalty();
  readonly #links: ReadonlyMap<string, PeerLink>;
  readonly #told = new Map<string, Told>();

  constructor(links: ReadonlyMap<string, PeerLink>) {
    this.#links = links;
  }

  *trunks(): Generator<SimTrunk> {
    for (const { trunk } of this.#links.values()) yield trunk;
  }

  trunkOf(region: string): SimTrunk | undefined {
    return this.#links.get(region)?.trunk;
  }

  told(region: string, model: RegionModel, nowMs: number): void {
    this.#told.set(region, { model, atMs: nowMs });
    this.ledger.counted(region);
  }

  *views(nowMs: number, model: string): Generator<PeerView> {
    for (const [region, { trunk, jurisdictions }] of this.#links) {
      yield {
        ...{ region, key: `${region}/`, target: region, rttMs: trunk.rttMs },
        ...{ jurisdictions, viaJurisdictions: jurisdictions },
        connected: trunk.state === "up",
        penaltyMs: this.penalty.of(region, nowMs),
        sentSince: this.ledger.sentSince(region, model),
        model: this.#modelOf(region, nowMs),
      };
    }
  }

  onDown(listener: (region: string) => void): void {
    for (const [region, { trunk }] of this.#links) {
      trunk.onState((state) => {
        if (state === "down") listener(region);
      });
    }
  }

  close(): void {
    for (const trunk of this.trunks()) trunk.close();
  }

  #modelOf(region: string, nowMs: number): PeerView["model"] {
    const told = this.#told.get(region);
    if (told === undefined || nowMs - told.atMs > SUMMARY_FRESH_MS) return "untold";
    return told.model.edgesReady === 0 ? null : told.model;
  }
}
