// How fast a simulated edge is. A lockstep batch reads the weights once for all its streams: a step
// takes hardly longer with more of them until the arithmetic, not the memory, is what it waits for;
// from there on it grows with each stream.

export interface EngineProfile {
  readonly name: string;
  /** One decode step of one stream. */
  readonly stepMs: number;
  /** Streams at which a step is as much arithmetic as memory. */
  readonly knee: number;
  readonly prefillTokensPerS: number;
  readonly slots: number;
  readonly queueMax: number;
  readonly hasGpu: boolean;
  readonly watts: number;
  readonly idleWatts: number;
  readonly costPerHour: number;
}

/** How sharply the curve bends at the knee. */
const BEND = 3;

export const profiles = {
  /** A data-centre card. */
  large: {
    ...{ name: "large", stepMs: 14, knee: 14, prefillTokensPerS: 7000, slots: 16, queueMax: 64 },
    ...{ hasGpu: true, watts: 350, idleWatts: 60, costPerHour: 2.5 },
  },
  /** A workstation's card. */
  medium: {
    ...{ name: "medium", stepMs: 22, knee: 8, prefillTokensPerS: 2500, slots: 8, queueMax: 64 },
    ...{ hasGpu: true, watts: 200, idleWatts: 30, costPerHour: 0.8 },
  },
  /** A box without a card. */
  small: {
    ...{ name: "small", stepMs: 60, knee: 3, prefillTokensPerS: 400, slots: 4, queueMax: 32 },
    ...{ hasGpu: false, watts: 65, idleWatts: 12, costPerHour: 0.1 },
  },
} as const satisfies Record<string, EngineProfile>;

/** One step with so many streams. */
export function decodeStepMs(profile: EngineProfile, streams: number): number {
  return profile.stepMs * (1 + (streams / profile.knee) ** BEND) ** (1 / BEND);
}

/**
 * Requests a second that an edge can complete at full load, when each reads and writes so many
 * tokens. What utilisation is measured against.
 */
export function capacityPerS(
  profile: EngineProfile,
  readTokens: number,
  writtenTokens: number,
): number {
  const readMs = (readTokens * 1000) / profile.prefillTokensPerS;
  const writeMs = (writtenTokens * decodeStepMs(profile, profile.slots)) / profile.slots;
  return 1000 / (readMs + writeMs);
}
