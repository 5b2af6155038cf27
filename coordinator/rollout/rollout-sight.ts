// What a rollout needs to know of the fleet, read off what the regions tell and the ledger of how
// versions do.
import type { EdgeView, Fleet } from "./fleet.ts";
import { isReady } from "./fleet.ts";
import type { HealthLedger } from "./health-ledger.ts";
import { rolloutProgress } from "./rollout-progress.ts";
import type { RolloutState } from "./rollout-state.ts";
import type { RolloutSight } from "./rollout-step.ts";

/** Busy edges come first among the ready: only callers' requests tell how a version does. */
export function sightOf(
  { model, version, incumbent }: RolloutState,
  fleet: Fleet,
  ledger: HealthLedger,
): RolloutSight {
  const edges = fleet.edges().filter(({ alive }) => alive);
  const { serving, failed } = rolloutProgress(model, version, edges);
  const busy = new Map(
    edges.map((edge) => [nameOf(edge), ledger.requestsOf(nameOf(edge), incumbent)]),
  );
  const ready = edges
    .filter(({ edge }) => edge.models.some((one) => one.model === model && isReady(one.status)))
    .map(nameOf)
    .sort((a, b) => (busy.get(b) ?? 0) - (busy.get(a) ?? 0) || (a < b ? -1 : 1));
  const health = ledger.rows(version, incumbent);
  return { alive: edges.map(nameOf), ready, serving, failed, health };
}

function nameOf({ region, edge }: EdgeView): string {
  return `${region}/${edge.edge}`;
}
