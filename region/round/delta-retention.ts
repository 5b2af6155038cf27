// Which rounds a region forgets, and their deltas with them: those the coordinator has, oldest
// first, beyond a number, an age or a size. Until then a version can be rebuilt without an edge.
// Pure.
import type { RoundState } from "./round-state.ts";

export interface RetentionBounds {
  readonly roundsMax: number;
  readonly ageMaxMs: number;
  /** Of the deltas of all rounds. */
  readonly bytesMax: number;
}

export interface KeptRound {
  readonly key: string;
  readonly openedMs: number;
  /** The coordinator has its last word. */
  readonly taken: boolean;
  readonly bytes: number;
}

const DAY_MS = 86_400_000;

/** A month is time to be asked for an edge's removal, and to find a poisoner. */
export const retentionDefaults = {
  roundsMax: 64,
  ageMaxMs: 30 * DAY_MS,
  bytesMax: 32 * 2 ** 30,
} as const satisfies RetentionBounds;

/** Keys of the rounds to forget. One that the coordinator hasn't got is never among them. */
export function roundsToForget(
  rounds: readonly KeptRound[],
  { roundsMax, ageMaxMs, bytesMax }: RetentionBounds,
  nowMs: number,
): readonly string[] {
  let count = rounds.length;
  let bytes = rounds.reduce((sum, round) => sum + round.bytes, 0);
  const oldest = rounds.filter(({ taken }) => taken).sort((a, b) => a.openedMs - b.openedMs);
  const forgotten: string[] = [];
  for (const round of oldest) {
    const isOld = nowMs - round.openedMs > ageMaxMs;
    if (count <= roundsMax && bytes <= bytesMax && !isOld) break;
    forgotten.push(round.key);
    count -= 1;
    bytes -= round.bytes;
  }
  return forgotten;
}

/** Bytes of every delta that the round has seen, refused ones too. */
export function deltaBytesOf({ seats }: RoundState): number {
  return manifestsOf({ seats }).reduce((sum, one) => sum + Number(one.delta?.bytes ?? 0n), 0);
}

/** Of every delta that the round has seen. */
export function manifestsOf({ seats }: Pick<RoundState, "seats">) {
  return [...seats.values()].flatMap(({ manifest, refusals }) => {
    return [...(manifest ? [manifest] : []), ...refusals.map((refusal) => refusal.manifest)];
  });
}
