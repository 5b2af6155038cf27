// The files of a regional round: kept from eviction while the round is, removed with it.
import { type Sha256, sha256, sha256Pattern } from "../../proto/ids.ts";
import type { ArtifactStore } from "../../sync/artifact/artifact-store.ts";
import { manifestsOf } from "./delta-retention.ts";
import type { RoundRunner } from "./round-runner.ts";
import type { RoundState } from "./round-state.ts";

export interface RoundStores {
  readonly deltas: ArtifactStore;
  /** What the region serves: partials are there. */
  readonly store: ArtifactStore;
}

/** Keeps what a recovered round refers to from eviction. */
export function pinFilesOf(runner: RoundRunner, { deltas, store }: RoundStores): void {
  const { state } = runner;
  for (const digest of deltasOf(state)) runner.onEnd(deltas.pin(digest));
  if (state.partial && !state.taken) {
    runner.onEnd(store.pin(sha256(state.partial.artifact!.sha256)));
  }
}

/** Removes the deltas of a round that is forgotten, but for those that another one holds. */
export function dropFilesOf({ state }: RoundRunner, deltas: ArtifactStore): void {
  for (const digest of deltasOf(state)) deltas.drop(digest);
}

function deltasOf(state: RoundState): readonly Sha256[] {
  return manifestsOf(state).flatMap(({ delta }) => {
    const digest = delta?.sha256 ?? "";
    return sha256Pattern.test(digest) ? [sha256(digest)] : [];
  });
}
