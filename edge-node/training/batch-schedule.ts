// Which examples each step learns from: a function of seed and step alone, so that a resumed run
// goes on with exactly the batches that an undisturbed one would have seen.

import { permutation, seededRandom } from "../../sync/formats/seeded-random.ts";
import type { TokenSequence } from "./training-batch.ts";

/** Gives the batch of any step. */
export type BatchSchedule = (step: number) => TokenSequence[];

export interface ScheduleOptions {
  readonly examples: readonly TokenSequence[];
  readonly replay: readonly TokenSequence[];
  readonly batch: number;
  readonly replayShare: number;
  readonly seed: number;
}

/** At least one of every batch is the edge's own, whatever the replay share. */
export function createBatchSchedule(options: ScheduleOptions): BatchSchedule {
  const { examples, replay, batch, replayShare, seed } = options;
  const wanted = replay.length > 0 ? Math.round(batch * replayShare) : 0;
  const replayed = Math.min(wanted, batch - 1);
  const own = shuffledStream(examples, seed * 2);
  const shared = shuffledStream(replay, seed * 2 + 1);
  return (step) => [
    ...own(step * (batch - replayed), batch - replayed),
    ...shared(step * replayed, replayed),
  ];
}

/** Endless passes over the items, each in another order; reads any part of the stream. */
function shuffledStream(items: readonly TokenSequence[], seed: number) {
  const orders = new Map<number, number[]>();
  const orderOf = (pass: number) => {
    let order = orders.get(pass);
    if (!order) {
      order = permutation(items.length, seededRandom(Math.imul(seed, 0x9e3779b1) + pass));
      orders.clear();
      orders.set(pass, order);
    }
    return order;
  };
  return (from: number, count: number) =>
    Array.from({ length: count }, (_, i) => {
      const order = orderOf(Math.floor((from + i) / items.length));
      return items[order[(from + i) % items.length] as number] as TokenSequence;
    });
}
