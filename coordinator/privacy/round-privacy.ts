// Privacy in the course of a campaign: its plan meets the ledger before the first round, each round
// is charged before it is offered, and the noise that was promised goes onto the mean.
import { createHash } from "node:crypto";
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
import { clipOf, followingClip, multiplierOf } from "./round-clip.ts";

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
  noised(campaign: CampaignState, round: number, mean: TensorMap, contributors: number): TensorMap {
    const { noise } = campaign.privacy;
    const clip = clipOf(campaign);
    if (noise === null || noise.at === "edge" || clip === null) return mean;
    const multiplier = multiplierOf(noise, contributors);
    const source = gaussian(seededBytes(this.#seeds.of(campaign.id, round)));
    return addNoise(mean, { clip, multiplier, contributors }, source);
  }

  /** The clip of the round after this one, the same whenever it is asked again; or it stays. */
  nextClip(campaign: CampaignState, round: RoundState): number | undefined {
    if (campaign.privacy.noise?.clipQuantile == null) return undefined;
    // Noise of its own: the deltas' must tell nothing of the count's.
    const seed = createHash("sha256")
      .update("clip")
      .update(this.#seeds.of(campaign.id, round.number));
    return followingClip(campaign, round, gaussian(seededBytes(seed.digest())));
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
