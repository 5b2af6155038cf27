// What routing learns beside its edges: how long answers are, and when a first token is late.
import test from "ava";
import { plainRequest } from "../../../region/route/route-request.ts";
import { TtftHistogram } from "../../../region/route/ttft-histogram.ts";
import { RoutingFixture } from "./routing-fixture.ts";

test("answers are expected to be as those of the tenant were, or the class, or the model", (t) => {
  const mesh = new RoutingFixture({ a: {} });
  const expect = (tenant: string, promptTokens: number, maxTokens = 0) =>
    mesh.table.expectedTokens({ model: "m", tenant, promptTokens, maxTokens });
  const unknown = expect("", 100);
  const teach = (tenant: string, promptTokens: number, tokens: number) => {
    for (let k = 0; k < 10; k += 1) {
      const handle = mesh.send("a", { tenant, promptTokens });
      handle.ended(0, { kind: "finished", ttftMs: 10, tokens, tpotMs: 1 });
    }
  };
  teach("", 100, 20);
  teach("", 1000, 300);
  teach("terse", 1000, 3);
  t.is(Math.round(expect("terse", 100)), 3);
  t.is(Math.round(expect("", 100)), 20);
  t.is(Math.round(expect("other", 100)), 20);
  const model = expect("", 1 << 18);
  t.true(model > 20 && model < 300, `${model}`);
  t.is(expect("", 100, 7), 7);
  t.is(unknown, 128);
  t.is(expect("", 100, 1), 1);
});

test("the tail of a class is known once enough of it were seen, within a quarter", (t) => {
  const mesh = new RoutingFixture({ a: {} });
  const request = plainRequest("m", 100);
  for (let k = 0; k < 19; k += 1) mesh.answer("a", 100);
  t.is(mesh.table.ttftP95Ms(request), null);
  mesh.answer("a", 100);
  const tailMs = mesh.table.ttftP95Ms(request) ?? 0;
  t.true(tailMs >= 100 && tailMs <= 125, `${tailMs}`);
  t.is(mesh.table.ttftP95Ms(plainRequest("m", 1000)), null);
});

test("a histogram tells the percentile within a bucket, and forgets the old", (t) => {
  const histogram = new TtftHistogram();
  for (let ms = 1; ms <= 100; ms += 1) histogram.add(ms);
  const p50 = histogram.percentileMs(0.5)!;
  t.true(p50 >= 50 && p50 <= 62.5, `${p50}`);
  for (let k = 0; k < 5000; k += 1) histogram.add(1000);
  t.true(histogram.percentileMs(0.05)! >= 1000);
});
