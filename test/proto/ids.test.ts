// Names and subjects: what may go into a NATS subject, and that nothing else can.
import test from "ava";
import fc from "fast-check";
import { edgeId, modelId, namePattern, regionId, sha256, versionId } from "../../proto/ids.ts";
import { subjects } from "../../proto/subjects.ts";

test("a name that could break a subject, a path or a URL is refused by name", (t) => {
  for (const bad of ["", "a.b", "a b", "*", ">", "A", "-a", "a-", "../x", "é", "a".repeat(64)]) {
    t.throws(() => edgeId(bad), { instanceOf: TypeError, message: /edge name/ });
  }
  t.is(edgeId("us-1"), "us-1" as never);
});

test("any accepted pair of names gives subjects of exactly the expected depth", (t) => {
  const name = fc.string({ minLength: 1, maxLength: 63 }).filter((text) => namePattern.test(text));
  fc.assert(
    fc.property(name, name, (region, edge) => {
      const subject = subjects.heartbeat(regionId(region), edgeId(edge));
      return subject.split(".").length === 4 && !/[*>\s]/.test(subject);
    }),
  );
  t.pass();
});

test("versions are numbered per model, and digests are lower-case hex", (t) => {
  t.is(versionId(modelId("Qwen2.5-0.5B"), 3), "Qwen2.5-0.5B@3" as never);
  t.notThrows(() => sha256("0".repeat(64)));
  t.throws(() => sha256("G".repeat(64)));
});
