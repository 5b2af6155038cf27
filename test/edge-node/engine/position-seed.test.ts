// The seed at a position of a completion.
import test from "ava";
import { positionSeed } from "../../../edge-node/engine/position-seed.ts";

test("a completion begins with its own seed and goes on with others, always the same", (t) => {
  t.is(positionSeed(7, 0), 7);
  const seeds = Array.from({ length: 1000 }, (_, position) => positionSeed(7, position));
  t.is(new Set(seeds).size, 1000);
  t.is(positionSeed(7, 12), seeds[12]!);
  for (const seed of seeds) t.true(Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32);
  t.not(positionSeed(8, 12), positionSeed(7, 12));
});
