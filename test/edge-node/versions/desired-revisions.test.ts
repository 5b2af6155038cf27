// Which telling counts: newer yes, older no, unless nobody tells ours any more.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import { DesiredRevisions, RESET_AFTER_MS } from "../../../edge-node/versions/desired-revisions.ts";
import { DesiredStateSchema } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";

const state = (revision: number, version = `m@${revision}`) =>
  create(DesiredStateSchema, { revision: BigInt(revision), models: [{ model: "m", version }] });

test("a newer revision counts, an echo changes nothing, an older one is ignored", (t) => {
  const revisions = new DesiredRevisions();
  t.true(revisions.take(state(5), 0));
  t.false(revisions.take(state(5), 1));
  t.false(revisions.take(state(4), 2));
  t.true(revisions.take(state(6), 3));
  t.is(revisions.current?.revision, 6n);
});

test("the same revision with another content is the truth as it is told now", (t) => {
  const revisions = new DesiredRevisions(state(5, "m@1"));
  t.true(revisions.take(state(5, "m@2"), 0));
});

test("lower revisions count once nothing else is heard: the teller began anew", (t) => {
  const revisions = new DesiredRevisions(state(50));
  for (let ms = 0; ms < RESET_AFTER_MS; ms += 2000) t.false(revisions.take(state(2), ms));
  t.true(revisions.take(state(3), RESET_AFTER_MS));
  t.is(revisions.current?.revision, 3n);
});

test("a laggard among tellers never wins while ours is heard too", (t) => {
  const revisions = new DesiredRevisions(state(50));
  for (let ms = 0; ms < 5 * RESET_AFTER_MS; ms += 2000) {
    t.false(revisions.take(state(49), ms));
    if (ms % 20_000 === 0) t.false(revisions.take(state(50), ms + 1));
  }
  t.is(revisions.current?.revision, 50n);
});
