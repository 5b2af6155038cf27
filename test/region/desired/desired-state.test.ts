// What a region believes should be served, and that it keeps it whatever ends the process.
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import test from "ava";
import fc from "fast-check";
import { type DesiredState, DesiredStateSchema } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import {
  desiredFromText,
  desiredToText,
  newer,
  readDesired,
} from "../../../region/desired/desired-state.ts";
import { DesiredVault } from "../../../region/desired/desired-vault.ts";
import { silentLog } from "../../../runtime/log.ts";

function desiredOf(revision: bigint, model = "m"): DesiredState {
  return create(DesiredStateSchema, { revision, models: [{ model, version: `${model}@1` }] });
}

test("in whatever order revisions come, the greatest is held, and the first of equals", (t) => {
  fc.assert(
    fc.property(fc.array(fc.bigInt({ min: 1n, max: 9n }), { minLength: 1 }), (revisions) => {
      let held: DesiredState | null = null;
      for (const revision of revisions) held = newer(held, desiredOf(revision));
      t.is(held?.revision, revisions.toSorted().at(-1));
    }),
    { seed: 2 },
  );
  const first = desiredOf(3n, "a");
  t.is(newer(first, desiredOf(3n, "b")), first);
});

test("what isn't a desired state is told apart from one", (t) => {
  const read = (desired: DesiredState) => readDesired(toBinary(DesiredStateSchema, desired));
  t.is(typeof read(desiredOf(1n)), "object");
  t.is(typeof read(desiredOf(0n)), "string");
  t.is(typeof read(desiredOf(1n, "../m")), "string");
  t.is(typeof readDesired(new Uint8Array()), "string");
  t.is(typeof readDesired(new Uint8Array([255, 1])), "string");
  t.deepEqual(desiredFromText(desiredToText(desiredOf(5n))), desiredOf(5n));
  t.throws(() => desiredFromText("{}"));
});

test("the file is whole at every moment; a damaged one is as good as none", async (t) => {
  const dir = await mkdtemp(join(tmpdir(), "isthmus-desired-"));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  const path = join(dir, "deep", "desired.json");
  const nats = { kv: () => Promise.reject(new Error("no JetStream")) };
  const vault = new DesiredVault({ path, nats, domain: "us", log: silentLog() });
  t.is(await vault.readFile(), null);
  await vault.writeFile(desiredOf(1n));
  await vault.writeFile(desiredOf(2n));
  t.is((await vault.readFile())?.revision, 2n);
  t.deepEqual(await readdir(join(dir, "deep")), ["desired.json"]);
  await writeFile(path, '{"revision":"3","mod');
  t.is(await vault.readFile(), null);
  await t.throwsAsync(vault.exchange(desiredOf(2n)), { message: "no JetStream" });
});
