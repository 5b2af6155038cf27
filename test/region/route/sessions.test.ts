// Where conversations go: to the state that they left, by what edges tell, what was sent and pins.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import fc from "fast-check";
import { PrefixDigestSchema } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { BlockIndex } from "../../../region/route/block-index.ts";
import { HeldPrefixes } from "../../../region/route/held-prefixes.ts";
import { RoutingFixture } from "./routing-fixture.ts";

const digest = (...blocks: number[]) => create(PrefixDigestSchema, { blocks });
const finished = { kind: "finished", ttftMs: 5, tokens: 5, tpotMs: 1 } as const;

test("a prompt goes where its head is, as sent or as told; what isn't told is gone", (t) => {
  const mesh = new RoutingFixture({ a: {}, b: {} });
  const request = { promptTokens: 300, blocks: [1, 2, 3, 4] };
  mesh.send("b", request).ended(0, finished);
  t.is(mesh.chosen(request)?.edge, "b");
  t.is(mesh.chosen(request)?.cachedTokens, 256);
  mesh.beat("a", { model: { prefixes: digest(1, 2, 3) } });
  t.is(mesh.terms("a", request).prefillMs, 300 - 192);
  mesh.nowMs = 1000;
  mesh.beat("b", { model: { prefixes: digest() } });
  t.is(mesh.chosen(request)?.edge, "b", "it may not have known yet");
  mesh.nowMs = 10_000;
  mesh.beat("b", { model: { prefixes: digest() } });
  t.is(mesh.chosen(request)?.edge, "a");
  mesh.beat("a", {});
  t.is(mesh.chosen(request)?.edge, "a", "nothing told is as before");
  mesh.beat("a", { model: { prefixes: digest(7) } });
  t.is(mesh.terms("a", request).prefillMs, 300);
});

test("the last token of a prompt is always read", (t) => {
  const mesh = new RoutingFixture({ a: { model: { prefixes: digest(1, 2) } } });
  t.is(mesh.terms("a", { promptTokens: 100, blocks: [1, 2] }).prefillMs, 1);
});

test("a session stays, until its edge is worse by more than reading it again", (t) => {
  const mesh = new RoutingFixture({ a: {}, b: {}, c: {} });
  const turn = { sessionId: "s", promptTokens: 500 };
  mesh.send("b", turn).ended(0, finished);
  for (const random of [0, 0.5, 0.99]) t.is(mesh.chosen(turn, random)?.edge, "b");
  t.is(mesh.chosen({ ...turn, sessionId: "other" })?.edge, "a");
  mesh.beat("b", { model: { active: 8, queued: 2, remainingTokensMean: 50 } });
  t.true(mesh.terms("b", turn).queueMs > 0);
  t.is(mesh.chosen(turn)?.edge, "b", "waiting is shorter than reading 500 tokens elsewhere");
  mesh.beat("b", { model: { active: 8, queued: 12, remainingTokensMean: 50 } });
  t.not(mesh.chosen(turn)?.edge, "b");
  mesh.send("c", turn).ended(0, finished);
  mesh.beat("b", {});
  t.is(mesh.chosen(turn, 0.99)?.edge, "c", "it has moved");
});

test("a session too short to have blocks stays among edges that are as good", (t) => {
  const mesh = new RoutingFixture({ a: {}, b: { rttMs: 1.5 }, c: {} });
  mesh.send("b", { sessionId: "s", promptTokens: 1 }).ended(0, finished);
  for (const random of [0, 0.5, 0.99]) {
    t.is(mesh.chosen({ sessionId: "s", promptTokens: 1 }, random)?.edge, "b");
  }
});

test("a session whose edge is out or was tried goes elsewhere", (t) => {
  const mesh = new RoutingFixture({ a: {}, b: {} });
  mesh.send("b", { sessionId: "s" }).ended(0, finished);
  t.is(mesh.chosen({ sessionId: "s" }, 0, new Set(["us/b"]))?.edge, "a");
  mesh.table.setStatus("b", "draining", "");
  t.is(mesh.chosen({ sessionId: "s" })?.edge, "a");
});

test("the index says of every edge what it would say of each alone, few or many", (t) => {
  const rows = fc.integer({ min: 0, max: 99 });
  const step = fc.record({ row: rows, head: fc.integer({ min: 0, max: 5 }), told: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), fc.boolean(), (steps, isShared) => {
      const index = new BlockIndex(1 << 10);
      const chain = [0x9000_0001, 2, 3, 0xf000_0004, 5];
      const held = Array.from({ length: 100 }, (_, row) => new HeldPrefixes(index, row));
      const truth = new Map<number, number>();
      if (isShared)
        for (const [row, one] of held.entries()) one.told(chain.slice(0, 1 + (row % 2)), 0);
      if (isShared) for (let row = 0; row < 100; row += 1) truth.set(row, 1 + (row % 2));
      for (const [k, { row, head, told }] of steps.entries()) {
        const nowMs = 10_000 * (k + 1);
        const blocks = chain.slice(0, head);
        if (told) held[row]!.told(blocks, nowMs);
        else held[row]!.sent(blocks, nowMs);
        truth.set(row, told ? head : Math.max(truth.get(row) ?? 0, head));
      }
      const found = new Map<number, number>();
      const count = index.find(chain, 100);
      for (let row = 0; row < 100; row += 1) found.set(row, index.commonBlocks);
      for (let k = 0; k < count; k += 1) found.set(index.rows[k]!, index.blocks[k]!);
      for (let row = 0; row < 100; row += 1) {
        t.is(found.get(row), truth.get(row) ?? 0, `${row}`);
        t.is(index.blocksAt(row, chain), truth.get(row) ?? 0);
      }
      for (const one of held) one.clear();
      t.is(index.size, 0);
    }),
    { seed: 21, numRuns: 100 },
  );
});
