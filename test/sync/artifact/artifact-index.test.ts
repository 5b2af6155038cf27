// The bookkeeping of a store.
import { createHash } from "node:crypto";
import test from "ava";
import fc from "fast-check";
import type { Sha256 } from "../../../proto/ids.ts";
import { ArtifactIndex } from "../../../sync/artifact/artifact-index.ts";

const names = Array.from({ length: 6 }, (_, i) => {
  return createHash("sha256").update(String(i)).digest("hex") as Sha256;
});
const [a, b, c] = names as [Sha256, Sha256, Sha256];

test("the least recently used goes first", (t) => {
  const index = new ArtifactIndex();
  for (const name of [a, b, c]) index.add(name, 10);
  index.touch(a);
  t.deepEqual(index.evictionsFor(10, 30), [b]);
  t.deepEqual(index.evictionsFor(20, 30), [b, c]);
  t.deepEqual(index.evictionsFor(0, 30), []);
});

test("a pin holds until it is released, each once", (t) => {
  const index = new ArtifactIndex();
  index.add(a, 10);
  const first = index.pin(a);
  const second = index.pin(a);
  first();
  first();
  t.is(index.evictionsFor(25, 30), undefined);
  second();
  t.deepEqual(index.evictionsFor(25, 30), [a]);
});

test("evictions make room, touch no pinned artifact and go in order of use", (t) => {
  const step = fc.record({
    kind: fc.constantFrom("add", "touch", "remove", "pin"),
    which: fc.nat({ max: names.length - 1 }),
    bytes: fc.nat({ max: 40 }),
  });
  const law = fc.property(fc.array(step), fc.nat({ max: 120 }), (steps, wanted) => {
    const index = new ArtifactIndex();
    const pinned = new Set<Sha256>();
    for (const { kind, which, bytes } of steps) {
      const name = names[which]!;
      if (kind === "add") index.add(name, bytes);
      if (kind === "touch") index.touch(name);
      if (kind === "remove") index.remove(name);
      if (kind === "pin") pinned.add(name) && index.pin(name);
    }
    const held = index.list().reduce((sum, { bytes }) => sum + bytes, 0);
    if (held !== index.bytes) return false;
    const gone = index.evictionsFor(wanted, 100);
    const unpinned = index.list().filter(({ sha256 }) => !pinned.has(sha256));
    const evictable = unpinned.reduce((sum, { bytes }) => sum + bytes, 0);
    if (gone === undefined) return held - evictable + wanted > 100;
    const freed = gone.reduce((sum, name) => sum + index.size(name)!, 0);
    const inOrder = gone.every((name, i) => unpinned[i]?.sha256 === name);
    return held - freed + wanted <= 100 && inOrder;
  });
  t.notThrows(() => fc.assert(law, { seed: 11, numRuns: 500 }));
});
