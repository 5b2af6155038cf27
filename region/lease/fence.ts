// What keeps a process that lost its duties, but doesn't know it yet, from writing into what its
// successor goes on with, or from acknowledging what the successor will never read.

export interface Fence {
  /** Higher than that of everybody who had the duties before. Files are named after it. */
  readonly epoch: number;
  /** Whether this process may still do what only one may do. */
  readonly isHeld: boolean;
  /** Faults: `unavailable` once somebody else may have the duties. */
  assertHeld(): void;
}

/** Of a process that nobody could take anything from; for tests and tools. */
export const noFence: Fence = { epoch: 0, isHeld: true, assertHeld: () => {} };
