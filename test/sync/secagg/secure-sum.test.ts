// The laws of secure aggregation: the masked sum is the plain one bit for bit, whoever drops out
// within bounds; and nobody can be made to give away what hides a single delta.
import test from "ava";
import fc from "fast-check";
import { Fault } from "../../../proto/fault.ts";
import type { TensorMap } from "../../../sync/delta/tensor-map.ts";
import { addWords, decodeFixedPoint, encodeFixedPoint } from "../../../sync/secagg/fixed-point.ts";
import { MaskGraph } from "../../../sync/secagg/mask-graph.ts";
import {
  maskWords,
  openShares,
  receiveShares,
  shareSecrets,
} from "../../../sync/secagg/masking-party.ts";
import { removeMasks, stillClosed } from "../../../sync/secagg/unmasking.ts";
import { enter, runGroup, seededSource } from "./masking-group.ts";

const namesOf = (count: number) => Array.from({ length: count }, (_, i) => `edge-${i + 1}`);

function tensorsOf(seed: number, sizes: readonly number[]): TensorMap {
  const bytes = seededSource(seed)(4 * sizes.reduce((a, b) => a + b, 0));
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  let at = 0;
  return new Map(
    sizes.map((size, i) => {
      const data = Float32Array.from({ length: size }, () => {
        return view.getInt32(4 * at++, true) / 2 ** 29;
      });
      return [`t${i}`, { shape: [size], data }];
    }),
  );
}

/** A group and who is gone at which moment, with enough left to unmask. */
const plans = fc
  .record({
    count: fc.integer({ min: 3, max: 9 }),
    seed: fc.integer({ min: 0, max: 2 ** 31 }),
    fates: fc.array(fc.constantFrom("stays", "unshared", "dropped", "silent"), {
      minLength: 9,
      maxLength: 9,
    }),
    sizes: fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 3 }),
  })
  .map(({ count, seed, fates, sizes }) => {
    const edges = namesOf(count);
    let gone = 0;
    const of = (fate: string) => {
      return edges.filter(
        (_, i) => fates[i] === fate && gone < Math.min(Math.floor(count / 3), count - 3) && ++gone,
      );
    };
    const [unshared, dropped, silent] = [of("unshared"), of("dropped"), of("silent")];
    return { plan: { edges, seed, unshared, dropped, silent }, sizes };
  });

test("a masked sum is the plain fixed-point sum bit for bit, with any allowed dropouts", (t) => {
  const law = fc.property(plans, ({ plan, sizes }) => {
    const format = { range: 4, members: plan.edges.length };
    const wordsOf = (edge: string) => {
      return encodeFixedPoint(tensorsOf(plan.edges.indexOf(edge) + plan.seed, sizes), format);
    };
    const { unmasking, masked } = runGroup(plan);
    const sum = masked(wordsOf);
    const plain = new Uint32Array(sum.length);
    for (const edge of unmasking.included) addWords(plain, wordsOf(edge));
    const isHidden = sum.length < 4 || Buffer.compare(Buffer.from(sum), Buffer.from(plain)) !== 0;
    if (stillClosed(unmasking).length > 0 || !isHidden) return false;
    removeMasks(unmasking, sum);
    return Buffer.from(sum.buffer).equals(Buffer.from(plain.buffer));
  });
  fc.assert(law, { numRuns: 20, seed: 11 });
  t.pass();
});

test("one dropout beyond a third leaves the sum closed, and says whose shares are missing", (t) => {
  const edges = namesOf(6);
  const { unmasking } = runGroup({ edges, seed: 1, silent: ["edge-1", "edge-2", "edge-3"] });
  t.deepEqual(stillClosed(unmasking), edges);
  const few = runGroup({ edges, seed: 1, silent: ["edge-1", "edge-2"] });
  t.deepEqual(stillClosed(few.unmasking), []);
});

test("a large group masks in a graph, and still sums exactly", (t) => {
  const edges = Array.from({ length: 52 }, (_, i) => `e${String(i).padStart(3, "0")}`);
  const { members } = enter(edges, 5);
  const graph = new MaskGraph(members);
  for (const edge of edges) {
    t.is(graph.neighbours(edge).length, 48);
    t.true(graph.neighbours(edge).every((other) => graph.neighbours(other).includes(edge)));
  }
  const { unmasking, masked } = runGroup({ edges, seed: 5, dropped: ["e003"], silent: ["e047"] });
  const sum = masked((edge) => Uint32Array.of(edges.indexOf(edge), 7));
  t.deepEqual(stillClosed(unmasking), []);
  removeMasks(unmasking, sum);
  t.deepEqual([...sum], [(51 * 52) / 2 - 3, 51 * 7]);
});

test("a masked delta alone looks like chance", (t) => {
  const { secrets } = runGroup({ edges: namesOf(3), seed: 2 });
  const words = new Uint32Array(50_000);
  maskWords(secrets.get("edge-2")!, words);
  const ones = words.reduce((sum, word) => sum + bitsOf(word), 0) / (32 * words.length);
  t.true(Math.abs(ones - 0.5) < 5 * Math.sqrt(0.25 / (32 * words.length)), String(ones));
  t.true(new Set(words).size > 49_900);
});

test("an edge opens shares for one list only, and for none that is too short", (t) => {
  const { secrets } = runGroup({ edges: namesOf(6), seed: 3, dropped: ["edge-6"] });
  const one = secrets.get("edge-1")!;
  const included = namesOf(5);
  const { secrets: answered, shares } = openShares(one, included);
  t.deepEqual(shares.self.map(({ of: edge }) => edge).sort(), included);
  t.deepEqual(
    shares.maskKey.map(({ of: edge }) => edge),
    ["edge-6"],
  );
  t.deepEqual(openShares(answered, [...included].reverse()).shares, shares);
  t.throws(() => openShares(answered, namesOf(6)), { instanceOf: Fault, code: "conflict" });
  t.throws(() => openShares(one, namesOf(3)), { message: /3 edges of this group .* 4 are needed/ });
  // Names that are nobody's count for nothing.
  t.throws(() => openShares(one, ["edge-1", "edge-2", "x", "y", "z"]), { instanceOf: Fault });
});

test("no answer holds both secrets of any edge", (t) => {
  const { unmasking } = runGroup({ edges: namesOf(9), seed: 4, dropped: ["edge-2", "edge-9"] });
  for (const { self, maskKey } of unmasking.opened.values()) {
    const names = new Set(self.map(({ of: edge }) => edge));
    t.true(maskKey.every(({ of: edge }) => !names.has(edge)));
  }
});

test("a roster that could bare a delta is refused", (t) => {
  const { secrets, members, random } = enter(namesOf(4), 6);
  const share = (list: typeof members) => {
    return () => shareSecrets(secrets.get("edge-1")!, list, random);
  };
  t.throws(share(members.slice(0, 2)), { message: /3 are needed/ });
  t.throws(share([...members, members[1]!]), { instanceOf: Fault });
  t.throws(share(members.slice(1)), { message: /other keys of this edge/ });
  const forged = { ...members[2]!, maskKey: members[1]!.maskKey };
  t.throws(share([members[0]!, members[1]!, forged]), { message: /signature/ });
  const stale = { ...members[2]!, round: 2 };
  t.throws(share([members[0]!, members[1]!, stale]), { message: /another round/ });
  t.notThrows(share(members));
});

test("shares that were tampered with, or are meant for others, are refused", (t) => {
  const { secrets, members, random } = enter(namesOf(4), 7);
  const shared = namesOf(4).map((edge) => shareSecrets(secrets.get(edge)!, members, random));
  const inbox = shared.flatMap(({ shares }) => shares!.shares).filter(({ to }) => to === "edge-1");
  const first = shared[0]!;
  t.notThrows(() => receiveShares(first, inbox));
  const box = Uint8Array.from(inbox[0]!.box);
  box[20]! ^= 1;
  t.throws(() => receiveShares(first, [{ ...inbox[0]!, box }, ...inbox.slice(1)]), {
    message: /can't be opened/,
  });
  t.throws(() => receiveShares(first, [{ ...inbox[0]!, to: "edge-2" }]), { instanceOf: Fault });
  t.throws(() => receiveShares(first, [inbox[0]!, inbox[0]!]), { instanceOf: Fault });
  t.throws(() => receiveShares(first, inbox.slice(0, 1)), { message: /2 edges .* 3 are needed/ });
});

test("shares that give another secret than was promised are found out", (t) => {
  const { unmasking, masked } = runGroup({ edges: namesOf(4), seed: 8 });
  const sum = masked(() => Uint32Array.of(1, 2, 3));
  const liar = unmasking.opened.get("edge-1")!;
  liar.self[1]!.share = Uint8Array.from(liar.self[1]!.share, (byte) => byte ^ 1);
  t.throws(() => removeMasks(unmasking, sum), { message: /don't give its secret/ });
});

test("fixed point keeps numbers to half a step, and refuses what is beyond its range", (t) => {
  const format = { range: 4, members: 8 };
  const tensors = tensorsOf(9, [100, 30]);
  const layout = new Map([...tensors].map(([name, { shape }]) => [name, shape]));
  const back = decodeFixedPoint(encodeFixedPoint(tensors, format), layout, format);
  const step = 4 / Math.floor((2 ** 31 - 1) / 8);
  for (const [name, { data }] of tensors) {
    const found = back.get(name)!.data;
    t.true(data.every((value, i) => Math.abs(value - found[i]!) <= step / 2 + 2 ** -22));
  }
  const beyond = new Map([["t", { shape: [1], data: Float32Array.of(4.001) }]]);
  t.throws(() => encodeFixedPoint(beyond, format), { message: /±4/ });
  const broken = new Map([["t", { shape: [1], data: Float32Array.of(Number.NaN) }]]);
  t.throws(() => encodeFixedPoint(broken, format), { instanceOf: Fault });
});

test("the largest values of all members together don't go round", (t) => {
  const format = { range: 4, members: 7 };
  for (const value of [4, -4]) {
    const one = encodeFixedPoint(
      new Map([["t", { shape: [1], data: Float32Array.of(value) }]]),
      format,
    );
    const sum = new Uint32Array(1);
    for (let i = 0; i < 7; i++) addWords(sum, one);
    const layout = new Map([["t", [1]]]);
    t.is(decodeFixedPoint(sum, layout, format).get("t")!.data[0], 7 * value);
  }
});

function bitsOf(word: number): number {
  let bits = 0;
  for (let rest = word; rest !== 0; rest = (rest & (rest - 1)) >>> 0) bits++;
  return bits;
}
