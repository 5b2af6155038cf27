// Shamir's shares: enough of them give the secret, fewer give nothing.
import test from "ava";
import fc from "fast-check";
import { Fault } from "../../../proto/fault.ts";
import { agreeOn, makeKeyPair, seal, unseal } from "../../../sync/secagg/key-agreement.ts";
import { joinSecret, splitSecret } from "../../../sync/secagg/secret-sharing.ts";
import { seededSource } from "./masking-group.ts";

test("any threshold of the shares gives the secret back", (t) => {
  const sizes = fc.record({
    secret: fc.uint8Array({ minLength: 1, maxLength: 40 }),
    count: fc.integer({ min: 1, max: 255 }),
    share: fc.double({ min: 0, max: 1, noNaN: true }),
    seed: fc.nat(),
  });
  const law = fc.property(sizes, ({ secret, count, share, seed }) => {
    const threshold = Math.max(1, Math.round(share * count));
    const random = seededSource(seed);
    const shares = splitSecret(secret, { count, threshold }, random);
    const order = [...shares].sort(
      (a, b) => ((a.at * 7919 + seed) % 257) - ((b.at * 7919 + seed) % 257),
    );
    return Buffer.from(joinSecret(order.slice(0, threshold))).equals(Buffer.from(secret));
  });
  fc.assert(law, { numRuns: 40, seed: 3 });
  t.pass();
});

test("with one share too few every secret is as likely as any other", (t) => {
  const counts = new Uint32Array(256);
  for (let seed = 0; seed < 6_000; seed++) {
    const shares = splitSecret(Uint8Array.of(42), { count: 3, threshold: 3 }, seededSource(seed));
    counts[joinSecret(shares.slice(0, 2))[0]!]! += 1;
  }
  const expected = 6_000 / 256;
  const chiSquare = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
  // 255 degrees of freedom: mean 255, deviation 22.6.
  t.true(chiSquare < 255 + 5 * 22.6, String(chiSquare));
});

test("shares that can't be of one secret, and splits that make no sense, are refused", (t) => {
  const random = seededSource(1);
  const [a, b] = splitSecret(Uint8Array.of(1, 2), { count: 3, threshold: 2 }, random);
  t.throws(() => joinSecret([]), { instanceOf: Fault });
  t.throws(() => joinSecret([a!, a!]), { instanceOf: Fault });
  t.throws(() => joinSecret([a!, { at: 0, bytes: b!.bytes }]), { instanceOf: Fault });
  t.throws(() => joinSecret([a!, { at: 2, bytes: b!.bytes.subarray(1) }]), { instanceOf: Fault });
  for (const [count, threshold] of [
    [3, 4],
    [3, 0],
    [256, 2],
  ]) {
    t.throws(() => splitSecret(Uint8Array.of(1), { count: count!, threshold: threshold! }, random));
  }
});

test("two keys agree on the same secret, another one for each purpose", (t) => {
  const random = seededSource(2);
  const [one, two] = [makeKeyPair(random), makeKeyPair(random)];
  const here = agreeOn("masks", one.privateKey, two.publicKey);
  t.deepEqual(agreeOn("masks", two.privateKey, one.publicKey), here);
  t.notDeepEqual(agreeOn("boxes", one.privateKey, two.publicKey), here);
  // The point of order 1: everybody would agree on the same.
  t.throws(() => agreeOn("masks", one.privateKey, new Uint8Array(32)), { instanceOf: Fault });
});

test("a box opens with its key, for its purpose, as it was", (t) => {
  const random = seededSource(3);
  const key = random(32);
  const message = Buffer.from("share");
  const box = seal(key, "one", message, random);
  t.deepEqual(Buffer.from(unseal(key, "one", box)), message);
  t.throws(() => unseal(key, "two", box), { instanceOf: Fault });
  t.throws(() => unseal(random(32), "one", box), { instanceOf: Fault });
  t.throws(() => unseal(key, "one", box.subarray(0, 20)), { instanceOf: Fault });
});
