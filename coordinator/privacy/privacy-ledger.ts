// The ledger of ε: what each model's rounds have given away, durably, and a no to every round that
// would go beyond the budget. A round is charged before any edge hears of it, so that no crash can
// make a round that was not counted.
import { Fault } from "../../proto/fault.ts";
import type { Clock } from "../../runtime/clock.ts";
import { privacyLoss } from "../../sync/privacy/rdp-accountant.ts";
import type { RecordStore } from "../records/record-store.ts";
import { DELTA_DEFAULT, type PrivacyPlan } from "../rounds/plan/privacy-plan.ts";
import {
  budgetKey,
  budgetSchema,
  chargeKey,
  chargePrefix,
  chargeSchema,
  type PrivacyBudget,
  type PrivacyCharge,
  spentRounds,
} from "./privacy-record.ts";

/** Differences below this are rounding, not privacy. */
const EPSILON_TOLERANCE = 1e-9;

export interface PrivacyLedgerOptions {
  readonly records: RecordStore;
  readonly clock: Clock;
  /** Rounds of a model that made a version, as `campaign/round`. */
  readonly roundsOf: (model: string) => readonly string[];
}

/** What the rounds of a model have cost so far. */
export interface PrivacyAccount extends PrivacyBudget {
  /** ε spent and reserved; null when rounds without noise leave it without any bound. */
  readonly spent: number | null;
  /** Rounds that made a version without noise. */
  readonly unnoisedRounds: number;
  /** Newest last. */
  readonly charges: readonly PrivacyCharge[];
}

/** Which round is charged. */
export interface ChargedRound {
  readonly model: string;
  readonly campaign: string;
  readonly round: number;
}

export class PrivacyLedger {
  readonly #options: PrivacyLedgerOptions;

  constructor(options: PrivacyLedgerOptions) {
    this.#options = options;
  }

  account(model: string): PrivacyAccount {
    const charges = this.#charges(model);
    const budget = this.#budget(model);
    const charged = new Set(charges.map(({ campaign, round }) => `${campaign}/${round}`));
    const unnoised = this.#options.roundsOf(model).filter((round) => !charged.has(round));
    const { epsilon: spent } = privacyLoss(spentRounds(charges), budget.delta);
    const isBounded = unnoised.length === 0;
    return { ...budget, spent: isBounded ? spent : null, unnoisedRounds: unnoised.length, charges };
  }

  /**
   * Sets what a model's rounds may cost. Durable on return.
   * Faults: `conflict` when it would loosen a promise that was made: a larger ε, or another δ.
   */
  setBudget(model: string, { epsilon, delta }: Omit<PrivacyBudget, "model">): PrivacyBudget {
    const { records } = this.#options;
    const stored = records.get(budgetKey(model));
    const before = stored && budgetSchema.parse(stored.value);
    if (before?.epsilon != null && (epsilon === null || epsilon > before.epsilon)) {
      const wanted = epsilon === null ? "no budget" : `ε ${epsilon}`;
      throw loosening(model, `ε ${before.epsilon}`, wanted);
    }
    if (before && before.delta !== delta) throw loosening(model, `δ ${before.delta}`, `δ ${delta}`);
    const budget = budgetSchema.parse({ model, delta, epsilon });
    if (JSON.stringify(budget) !== JSON.stringify(before)) {
      records.put(budgetKey(model), budget, stored?.revision ?? 0);
    }
    return budget;
  }

  /**
   * Takes over what a campaign's plan asks for: the tighter of its budget and the model's.
   * Faults: those of `setBudget`.
   */
  adopt(model: string, { epsilonBudget, delta, noise }: PrivacyPlan): void {
    if (epsilonBudget === null && noise === null) return;
    const before = this.#budget(model);
    const budgets = [epsilonBudget, before.epsilon].filter((epsilon) => epsilon !== null);
    const epsilon = budgets.length === 0 ? null : Math.min(...budgets);
    this.setBudget(model, { epsilon, delta: delta ?? before.delta });
  }

  /** Why one more round would be too many; null when it fits. */
  refusal(model: string, { noise }: PrivacyPlan): string | null {
    const { epsilon: budget, delta, unnoisedRounds, charges } = this.account(model);
    if (budget === null) return null;
    if (noise === null) {
      return `${model} has a privacy budget of ε ${budget}, and a round without noise has no bound`;
    }
    if (unnoisedRounds > 0) {
      return `${unnoisedRounds} rounds of ${model} went without noise: no ε bounds what they told`;
    }
    const next = { multiplier: noise.multiplier, samplingRate: 1, rounds: 1 };
    const { epsilon } = privacyLoss([...spentRounds(charges), next], delta);
    if (epsilon <= budget + EPSILON_TOLERANCE) return null;
    const total = `ε ${epsilon.toFixed(3)} at δ ${delta}`;
    return `another round of ${model} would bring it to ${total}, beyond its budget of ${budget}`;
  }

  /**
   * Charges a round before it begins, durably. Told again, it charges nothing more.
   * Returns why the round must not begin, or null.
   */
  reserve(which: ChargedRound, plan: PrivacyPlan): string | null {
    const { records, clock } = this.#options;
    if (this.#chargeOf(which) !== undefined) return null;
    const refusal = this.refusal(which.model, plan);
    if (refusal !== null || plan.noise === null) return refusal;
    const { multiplier, at } = plan.noise;
    const charge = chargeSchema.parse({
      ...{ model: which.model, campaign: which.campaign, round: which.round },
      ...{ multiplier, at, samplingRate: 1, state: "reserved", atMs: clock.now() },
    });
    records.put(chargeKey(charge), charge, 0);
    return null;
  }

  /** Notes how a charged round ended; a round without a charge is nothing to it. */
  settle(which: ChargedRound, state: "spent" | "released"): void {
    const charge = this.#chargeOf(which);
    if (charge === undefined || charge.state !== "reserved") return;
    const key = chargeKey(charge);
    const { records } = this.#options;
    records.put(key, { ...charge, state }, records.get(key)?.revision ?? 0);
  }

  #chargeOf({ model, campaign, round }: ChargedRound): PrivacyCharge | undefined {
    const charges = this.#charges(model);
    return charges.find((one) => one.campaign === campaign && one.round === round);
  }

  #charges(model: string): readonly PrivacyCharge[] {
    return this.#options.records
      .list(chargePrefix(model))
      .map(({ value }) => chargeSchema.parse(value))
      .filter((charge) => charge.model === model)
      .sort((a, b) => a.atMs - b.atMs || a.round - b.round);
  }

  #budget(model: string): PrivacyBudget {
    const stored = this.#options.records.get(budgetKey(model));
    if (stored !== undefined) return budgetSchema.parse(stored.value);
    return { model, delta: DELTA_DEFAULT, epsilon: null };
  }
}

function loosening(model: string, was: string, wanted: string): Fault {
  const message = `${model} was promised ${was}; ${wanted} would not keep it`;
  return new Fault("conflict", message, { param: "privacy" });
}
