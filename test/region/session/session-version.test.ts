// Which version of a session holds: the same one everywhere, whatever the order they come in.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import fc from "fast-check";
import { type Session, SessionSchema } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { conflictOf, heldVersion, isAsNew } from "../../../region/session/session-version.ts";

interface Fields {
  readonly revision?: number;
  readonly updatedMs?: number;
  readonly region?: string;
  readonly said?: readonly string[];
  readonly deleted?: boolean;
}

function version({ revision = 1, updatedMs = 1, region = "us", said = [], deleted }: Fields) {
  return create(SessionSchema, {
    ...{ id: "s", region, revision: BigInt(revision), updatedMs: BigInt(updatedMs) },
    messages: said.map((content) => ({ role: "user", content })),
    deleted: deleted ?? false,
  });
}

const versions = fc.array(
  fc
    .record({
      revision: fc.integer({ min: 1, max: 3 }),
      updatedMs: fc.integer({ min: 1, max: 3 }),
      region: fc.constantFrom("us", "eu"),
      said: fc.array(fc.constantFrom("a", "b"), { maxLength: 2 }),
      deleted: fc.boolean(),
    })
    .map(version),
  { minLength: 2, maxLength: 5 },
);

test("regions that have seen the same versions, in any order, hold the same one", (t) => {
  fc.assert(
    fc.property(versions, (told) => {
      const hold = (all: readonly Session[]) => all.reduce(heldVersion);
      t.deepEqual(hold(told), hold(told.toReversed()));
      t.deepEqual(hold(told), hold([...told.slice(1), told[0]!]));
      t.true(told.every((one) => isAsNew(hold(told), one)));
    }),
    { seed: 11, numRuns: 500 },
  );
});

test("more turns hold against a later clock, a later clock against a name", (t) => {
  const longer = version({ revision: 2, updatedMs: 1 });
  t.is(heldVersion(version({ updatedMs: 9 }), longer), longer);
  const later = version({ updatedMs: 2, region: "ap" });
  t.is(heldVersion(version({ region: "us" }), later), later);
  const named = version({ region: "us" });
  t.is(heldVersion(version({ region: "eu" }), named), named);
});

test("it is a conflict when what gives way is not in what holds", (t) => {
  const one = version({ said: ["a"] });
  t.is(conflictOf(version({ revision: 2, said: ["a", "b"] }), one), null);
  t.is(conflictOf(version({ said: ["b"], updatedMs: 2 }), one), "same-turn");
  t.is(conflictOf(version({ said: ["a"], updatedMs: 2 }), one), null, "the same, told twice");
  t.is(conflictOf(version({ revision: 2, said: ["b", "b"] }), one), "diverged");
  t.is(conflictOf(version({ revision: 2, deleted: true }), one), null, "a deletion means it");
  t.is(conflictOf(version({ deleted: true, updatedMs: 2 }), one), null);
  t.is(conflictOf(one, version({ deleted: true })), "same-turn", "it was to be deleted");
});
