// When a candidate counts as slower: how rarely a difference that isn't there is seen, and how
// surely one that is there.
import test from "ava";
import { type EdgeTimes, slowdownOf } from "../../../coordinator/rollout/slowdown.ts";
import { type SeededRandom, seededRandom } from "../../../sync/formats/seeded-random.ts";

/** Any difference at all is beyond it: what holds here holds by the evidence alone. */
const none = { ratio: 1, slackMs: 0, samples: 30 };
const margin = { ratio: 2, slackMs: 50, samples: 30 };

class Sums {
  sum = 0;
  squareSum = 0;
  count = 0;

  take(value: number): void {
    this.sum += value;
    this.squareSum += value ** 2;
    this.count += 1;
  }
}

/** Waiting times as meshes have them: most are short, some very long. Median 100 ms, mean 165. */
function waitingMs(random: SeededRandom): number {
  return 100 * Math.exp(random.gauss());
}

/** Edges that have served the incumbent, and the candidate not yet. */
function edgesOf(count: number, random: SeededRandom, samples = 200) {
  return Array.from({ length: count }, () => {
    const [candidate, incumbent] = [new Sums(), new Sums()];
    for (let i = 0; i < samples; i += 1) incumbent.take(waitingMs(random));
    return { candidate, incumbent };
  });
}

/** Requests until the candidate is found to be slow, looked at after each; null for never. */
function requestsUntilSlow(
  edges: readonly { readonly candidate: Sums; readonly incumbent: Sums }[],
  random: SeededRandom,
  how: { readonly times: (edge: number) => number; readonly margin: typeof margin },
): number | null {
  for (let n = 0; n < 400; n += 1) {
    const edge = n % edges.length;
    edges[edge]!.candidate.take(how.times(edge) * waitingMs(random));
    if (slowdownOf(edges, how.margin) !== undefined) return n + 1;
  }
  return null;
}

function alarmsIn(trials: number, edges: number, how: Parameters<typeof requestsUntilSlow>[2]) {
  const found: number[] = [];
  for (let trial = 0; trial < trials; trial += 1) {
    const random = seededRandom(1000 * edges + trial);
    const requests = requestsUntilSlow(edgesOf(edges, random), random, how);
    if (requests !== null) found.push(requests);
  }
  return found;
}

test("a version no slower than the incumbent is condemned in less than 1 of 100 rollouts", (t) => {
  for (const edges of [1, 3]) {
    const { length } = alarmsIn(300, edges, { times: () => 1, margin: none });
    t.true(length <= 3, `${length} of 300 with ${edges} edges`);
  }
});

test("a version three times as slow is condemned nearly always, within 400 requests", (t) => {
  for (const edges of [1, 3]) {
    const found = alarmsIn(100, edges, { times: () => 3, margin }).sort((a, b) => a - b);
    t.true(found.length >= 95, `${found.length} of 100 with ${edges} edges`);
    t.true(found[50]! <= 100, `half of them after ${found[50]} requests`);
  }
});

test("one edge that has a bad hour condemns no version that others serve well", (t) => {
  const times = (edge: number) => (edge === 2 ? 20 : 1);
  t.deepEqual(alarmsIn(50, 5, { times, margin }), []);
  // Alone it would have: it is all that is known of the version.
  t.is(alarmsIn(50, 1, { times: () => 20, margin }).length, 50);
});

const constant = (ms: number, count: number) => {
  return { sum: ms * count, squareSum: ms ** 2 * count, count };
};
const edge = (candidate: [number, number], incumbent: [number, number]): EdgeTimes => {
  return { candidate: constant(...candidate), incumbent: constant(...incumbent) };
};

test("an edge whose incumbent nobody knows is judged by how far the others differ", (t) => {
  const unknown = edge([600, 50], [0, 0]);
  t.is(slowdownOf([unknown, edge([100, 0], [100, 50])], margin), undefined, "one other is none");
  const alike = [edge([0, 0], [100, 50]), edge([0, 0], [110, 50]), edge([0, 0], [90, 50])];
  t.like(slowdownOf([unknown, ...alike], margin), { tookMs: 600, expectedMs: 100, samples: 50 });
  const apart = [edge([0, 0], [20, 50]), edge([0, 0], [400, 50]), edge([0, 0], [30, 50])];
  t.is(slowdownOf([unknown, ...apart], margin), undefined);
});

test("edges of few samples neither condemn a version nor save it", (t) => {
  const slow = edge([600, 40], [100, 100]);
  t.truthy(slowdownOf([slow, edge([100, 3], [100, 100])], margin));
  t.is(slowdownOf([slow, edge([100, 12], [100, 100])], margin), undefined);
});
