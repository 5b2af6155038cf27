// Privacy in the course of a campaign: its plan meets the ledger before the first round, each round
// is charged before it is offered, and the noise that was promised goes onto the mean.
import { join } from "node:path";
import { Fault } from "../../proto/fault.ts";
import type { Clock } from "../../runtime/clock.ts";
import { type RandomBytes, secureBytes, seededBytes } from "../../runtime/random.ts";
import type { TensorMap } from "../../sync/delta/tensor-map.ts";
import { gaussian } from "../../sync/privacy/gaussian.ts";
import { addNoise } from "../../sync/privacy/noise.ts";
import type { Catalogue } from "../catalogue/catalogue.ts";
import type { RecordStore } from "../records/record-store.ts";
import type { CampaignState, RoundState } from "../rounds/campaign-state.ts";
import { NoiseSeeds } from "./noise-seeds.ts";
import { type PrivacyAccount, PrivacyLedger } from "./privacy-ledger.ts";

export interface RoundPrivacyOptions {
  readonly records: RecordStore;
  readonly catalogue: Pick<Catalogue, "model" | "versions">;
  readonly clock: Clock;
  /** Seeds of noise lie in a folder of their own in it. */
  readonly dir: string;
  readonly random?: RandomBytes;
}

export class RoundPrivacy {
  readonly ledger: PrivacyLedger;
  readonly #seeds: NoiseSeeds;
  readonly #catalogue: RoundPrivacyOptions["catalogue"];

  constructor({ records, catalogue, clock, dir, random = secureBytes }: RoundPrivacyOptions) {
    this.#catalogue = catalogue;
    this.#seeds = new NoiseSeeds(join(dir, "noise"), random);
    this.ledger = new PrivacyLedger({ records, clock, roundsOf: (model) => this.#roundsOf(model) });
  }

  /** Faults: `model-not-found`. */
  account(model: string): PrivacyAccount {
    return this.ledger.account(this.#catalogue.model(model).model);
  }

  /**
   * Holds a campaign against the model's ledger before it starts.
   * Faults: `failed-precondition` when its first round would not fit, and those of `setBudget`.
   */
  begin({ model, privacy }: Pick<CampaignState, "model" | "privacy">): void {
    this.ledger.adopt(model, privacy);
    const refusal = this.ledger.refusal(model, privacy);
    if (refusal !== null) throw new Fault("failed-precondition", refusal, { param: "privacy" });
  }

  /** Charges the round under way; returns why it must not begin, or null. */
  admit(campaign: CampaignState): string | null {
    if (campaign.round === null) return null;
    return this.ledger.reserve(whichOf(campaign, campaign.round), campaign.privacy);
  }

  /**
   * The mean of a round's deltas with the noise that its plan asks for, the same one whenever it is
   * asked again. Requires a plain mean of deltas that were clipped.
   */
  noised(
    { id, privacy }: CampaignState,
    round: number,
    mean: TensorMap,
    contributors: number,
  ): TensorMap {
    if (privacy.noise === null || privacy.noise.at === "edge") return mean;
    const { clip, multiplier } = privacy.noise;
    const source = gaussian(seededBytes(this.#seeds.of(id, round)));
    return addNoise(mean, { clip, multiplier, contributors }, source);
  }

  /** Notes how the round before ended, and forgets the seeds of those that are over. */
  settle(campaign: CampaignState): void {
    const { last, privacy } = campaign;
    if (privacy.noise === null) return;
    this.#seeds.forgetOthers(campaign.id, campaign.round?.number ?? null);
    if (last === null) return;
    const which = whichOf(campaign, last);
    const isMade = this.#roundsOf(campaign.model).includes(`${campaign.id}/${last.number}`);
    // What an edge has noised and sent is told, whatever becomes of the round.
    this.ledger.settle(which, isMade || privacy.noise.at === "edge" ? "spent" : "released");
  }

  #roundsOf(model: string): readonly string[] {
    return this.#catalogue.versions(model).flatMap(({ origin }) => {
      return origin.kind === "round" ? [`${origin.campaign}/${origin.round}`] : [];
    });
  }
}

function whichOf({ id, model }: CampaignState, { number }: RoundState) {
  return { model, campaign: id, round: number };
}
