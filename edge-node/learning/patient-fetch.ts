// Fetches what a round needs until its deadline: the coordinator that holds the start may be on its
// way back from a crash, and that alone shouldn't cost the round this edge.
import { asFault } from "../../proto/fault.ts";
import type { Artifact } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import { pause } from "../../sync/artifact/pause.ts";

const RETRY_MS = 1_000;

export interface PatientFetchOptions {
  readonly fetchArtifact: (artifact: Artifact) => Promise<string>;
  readonly clock: Clock;
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
}

/** Faults: the last one before the deadline; at once one that no retry mends; `cancelled`. */
export async function fetchPatiently(
  artifact: Artifact,
  { fetchArtifact, clock, deadlineMs, signal }: PatientFetchOptions,
): Promise<string> {
  for (;;) {
    try {
      return await fetchArtifact(artifact);
    } catch (thrown) {
      const isOver = clock.now() + RETRY_MS >= deadlineMs;
      if (isOver || !asFault(thrown).retriable) throw thrown;
      await pause(clock, RETRY_MS, signal);
    }
  }
}
