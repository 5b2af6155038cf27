// How much a delta counts that was trained on an older version than the present one.
// Source: Nguyen et al., "Federated Learning with Buffered Asynchronous Aggregation" (FedBuff),
// arXiv 2106.06639: weight (1 + staleness)^−½, flushed when K deltas are in.

/** Deltas after which an asynchronous round is merged. */
export const BUFFER_DEFAULT = 10;

/** Staleness in versions: 0 for a delta of the present one. */
export function stalenessWeight(staleness: number): number {
  return 1 / Math.sqrt(1 + Math.max(0, staleness));
}
