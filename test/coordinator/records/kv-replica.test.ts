// Records between a log and a bucket on a real nats-server.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { KV } from "@nats-io/kv";
import test, { type ExecutionContext } from "ava";
import { KvReplica } from "../../../coordinator/records/kv-replica.ts";
import { RecordStore } from "../../../coordinator/records/record-store.ts";
import { systemClock } from "../../../runtime/clock.ts";
import { silentLog } from "../../../runtime/log.ts";
import { connectNats } from "../../../runtime/nats/connection.ts";
import { eventually } from "../../support/eventually.ts";
import { startNatsServer } from "../../support/nats-topology.ts";

async function setUp(t: ExecutionContext) {
  const nats = await startNatsServer();
  t.teardown(() => nats.stop());
  const link = await connectNats({ servers: nats.urls("central"), name: "test" });
  t.teardown(() => link.close());
  const dir = mkdtempSync(join(tmpdir(), "isthmus-replica-"));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const open = (): Promise<KV> => link.kv("central", "test");
  const start = (name: string) => {
    const store = new RecordStore(join(dir, name));
    const replica = new KvReplica({ store, open, clock: systemClock, log: silentLog() });
    t.teardown(() => replica.stop());
    return { store, replica };
  };
  const inBucket = async (key: string) => (await (await open()).get(key))?.json<unknown>();
  return { nats, start, inBucket };
}

test("a record reaches the bucket, and from there a coordinator that lost its disk", async (t) => {
  const { start, inBucket } = await setUp(t);
  const first = start("first.log");
  first.store.put("model.a", { served: "a@1" }, 0);
  await eventually("the bucket has it", () => inBucket("model.a"));
  await eventually("nothing is left to carry", () => first.replica.lag === 0);
  await first.replica.stop();
  first.store.put("model.a", { served: "a@2" }, 1);
  const second = start("second.log");
  await second.replica.reconciled;
  t.deepEqual(second.store.get("model.a")?.value, { served: "a@1" });
  const back = start("first.log");
  await back.replica.reconciled;
  t.deepEqual(back.store.get("model.a")?.value, { served: "a@2" });
  await eventually("the newer one wins", async () => {
    const record = (await inBucket("model.a")) as { revision: number };
    return record.revision === 2;
  });
});

test("writes go on while the server is dead, and reach it when it is back", async (t) => {
  const { nats, start, inBucket } = await setUp(t);
  const { store, replica } = start("records.log");
  store.put("a", 1, 0);
  await eventually("the bucket has it", () => replica.lag === 0 && inBucket("a"));
  await nats.kill("central", "j");
  store.put("a", 2, 1);
  store.put("b", 1, 0);
  t.true(replica.lag > 0);
  await nats.restart("central", "j");
  await eventually("both are there", async () => {
    const [a, b] = await Promise.all([inBucket("a"), inBucket("b")]);
    return (a as { revision: number }).revision === 2 && b !== undefined;
  });
  t.pass();
});
