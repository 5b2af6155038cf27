// What an edge owes a campaign outlives its process, and counts exactly once.
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { ResidualStore } from "../../../edge-node/learning/residual-store.ts";

const dir = mkdtempSync(join(tmpdir(), "isthmus-residuals-"));
test.after.always(() => rmSync(dir, { recursive: true }));
let folder = 0;
const freshDir = () => join(dir, `store-${++folder}`);
const tensorOf = (value: number) =>
  new Map([["x", { shape: [2], data: Float32Array.of(value, -value) }]]);
const tensors = (value: number) => ({ residual: tensorOf(value), start: tensorOf(value + 0.5) });
const staged = join(dir, "staged");
const [zero, one, two, three] = ["0", "1", "2", "3"].map((digit) => digit.repeat(64)) as [
  string,
  string,
  string,
  string,
];

function include(store: ResidualStore, round: number, start: string, value: number): void {
  store.stage(staged, start, tensors(value));
  store.keep("c", round, staged);
}

test.serial("nothing is owed before a delta was included, and what is owed survives", (t) => {
  const at = freshDir();
  const store = new ResidualStore(at);
  t.is(store.owed("c", zero), null);
  store.stage(staged, zero, tensors(1));
  t.is(store.owed("c", one), null);
  store.keep("c", 1, staged);
  t.deepEqual(new ResidualStore(at).owed("c", one), tensors(1));
  t.is(store.owed("another", one), null);
  // A killed process keeps it a second time.
  store.keep("c", 1, staged);
  t.deepEqual(store.owed("c", one), tensors(1));
});

test.serial("a round that was undone leaves what was owed before it", (t) => {
  const at = freshDir();
  const store = new ResidualStore(at);
  include(store, 1, zero, 1);
  include(store, 2, one, 2);
  t.deepEqual(store.owed("c", two), tensors(2));
  // Round 2 was abandoned: round 3 starts from the same state.
  t.deepEqual(store.owed("c", one), tensors(1));
  include(store, 3, one, 3);
  t.deepEqual(store.owed("c", one), tensors(1));
  t.deepEqual(store.owed("c", two), tensors(3));
  include(store, 4, two, 4);
  t.deepEqual(store.owed("c", two), tensors(3));
  t.deepEqual(new ResidualStore(at).owed("c", three), tensors(4));
});

test.serial("it is bounded: two rounds of a campaign, and a few campaigns", (t) => {
  const at = freshDir();
  const store = new ResidualStore(at);
  for (let round = 1; round <= 6; round++) include(store, round, `${round}`.repeat(64), round);
  t.deepEqual(readdirSync(join(at, "c")).sort(), ["5.safetensors", "6.safetensors"]);
  for (let i = 0; i < 9; i++) {
    store.stage(staged, zero, tensors(i));
    store.keep(`campaign-${i}`, 1, staged);
  }
  t.is(readdirSync(at).length, 4);
  t.deepEqual(store.owed("campaign-8", one), tensors(8));
});
