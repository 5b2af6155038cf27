// Held prompt heads are told on change, not in every heartbeat, and again now and then.
import test from "ava";
import {
  PREFIX_GAP_MS,
  PREFIX_REPEAT_MS,
  PrefixNews,
} from "../../../edge-node/heartbeat/prefix-news.ts";

test("told at first, on change, and again after a while", (t) => {
  const news = new PrefixNews();
  const tell = (blocks: number[], nowMs: number) => news.of("m", blocks, nowMs)?.blocks;
  t.deepEqual(tell([1, 2], 0), [1, 2]);
  t.is(tell([1, 2], 1000), undefined);
  t.deepEqual(tell([1, 3], 1001), [1, 3]);
  t.deepEqual(tell([], 2000), [], "an empty digest is news too");
  t.is(tell([], 2000 + PREFIX_REPEAT_MS - 1), undefined);
  t.deepEqual(tell([], 2000 + PREFIX_REPEAT_MS), []);
});

test("a burst of changes is told once a gap, and its last state isn't lost", (t) => {
  const news = new PrefixNews();
  let told: readonly number[] = [];
  let times = 0;
  for (let nowMs = 0; nowMs <= 4 * PREFIX_GAP_MS; nowMs += 10) {
    const blocks = nowMs < 3 * PREFIX_GAP_MS ? [nowMs] : [7];
    const digest = news.of("m", blocks, nowMs);
    if (digest === undefined) continue;
    told = digest.blocks;
    times++;
  }
  t.deepEqual(told, [7]);
  t.true(times <= 5);
});

test("a model that was gone is told of anew", (t) => {
  const news = new PrefixNews();
  news.of("m", [1], 0);
  news.keepOnly(new Set());
  t.deepEqual(news.of("m", [1], 1)?.blocks, [1]);
});
