// Measures a version beside the served one, on the public set and on every private one, and says
// what the gate makes of it.
import { asFault } from "../../proto/fault.ts";
import type { Catalogue } from "../catalogue/catalogue.ts";
import type { Evaluation } from "../catalogue/model-record.ts";
import {
  type EvaluationRunOptions,
  evaluatePrivate,
  evaluatePublic,
} from "../rounds/evaluation-run.ts";
import { gate } from "../rounds/gate.ts";
import type { RolloutState } from "./rollout-state.ts";
import type { RolloutEvent } from "./rollout-step.ts";

const EXAMPLES_MAX = 100;

export interface GateRunOptions extends EvaluationRunOptions {
  readonly catalogue: Catalogue;
}

/** A version that can't be measured is refused: what isn't measured isn't proved. */
export async function runGate(
  { model, version, incumbent, plan }: RolloutState,
  options: GateRunOptions,
): Promise<RolloutEvent & { kind: "judged" }> {
  const { heldout } = options.catalogue.model(model);
  const measure = async (id: string, keepOpen: boolean): Promise<Evaluation[]> => {
    const task = { version: options.catalogue.version(id), examplesMax: EXAMPLES_MAX, keepOpen };
    const open = heldout === null ? [] : [await evaluatePublic(task, heldout, options)];
    return [...open, ...(await evaluatePrivate(task, options))];
  };
  let reference: Evaluation[] = [];
  let measured: Evaluation[] = [];
  try {
    reference = await measure(incumbent, false);
    measured = await measure(version, true);
  } catch (thrown) {
    const refusal = `it could not be evaluated: ${asFault(thrown).message}`;
    return { kind: "judged", reference, measured, refusal };
  }
  const verdict = gate([reference], measured, plan);
  const refusal = verdict.passed ? nothingProved(measured) : verdict.reason;
  return { kind: "judged", reference, measured, refusal };
}

function nothingProved(measured: readonly Evaluation[]): string {
  if (measured.length > 0) return "";
  return "no set was there to prove it on: publish the model with --heldout, or force it";
}
