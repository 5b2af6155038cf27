// The program that takes an edge out of service before its container stops, on a real nats-server.
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import test from "ava";
import { Drain } from "../../edge-node/serving/drain.ts";
import { followDrainOrders } from "../../edge-node/serving/drain-orders.ts";
import { edgeId, regionId } from "../../proto/ids.ts";
import { systemClock } from "../../runtime/clock.ts";
import { createLog } from "../../runtime/log.ts";
import { linkedNats } from "../support/linked-nats.ts";

const run = promisify(execFile);
const program = resolve(import.meta.dirname, "../../edge-node/drain.ts");
const { nats, servers, dir } = await linkedNats();

const config = join(dir, "edge.json");
writeFileSync(config, JSON.stringify({ dir, nats: servers, region: "us", name: "pool" }));
const log = createLog({ role: "edge", name: "us-1", level: "silent" });

function drainer(edge: string) {
  return run(process.execPath, [program, "--config", config, `--set=name=${edge}`, "--grace-s=20"]);
}

test("an edge is drained by its region's NATS alone, and waited for until idle", async (t) => {
  let looks = 0;
  const requests = {
    // Two requests that end one after the other.
    get inFlight() {
      return Math.max(0, 2 - looks);
    },
    drain: () => Promise.resolve(),
    reopen: () => {},
    interrupt: () => t.fail("nothing is broken off within the grace"),
  };
  const drain = new Drain({ requests, clock: systemClock, log, onChange: () => {} });
  const stop = followDrainOrders({
    link: nats,
    region: regionId("us"),
    edge: edgeId("us-1"),
    drain,
    inFlight: () => Math.max(0, 2 - looks++),
    relayed: () => (looks < 4 ? 1 : 0),
    log,
  });
  try {
    const { stdout } = await drainer("us-1");
    t.true(drain.isDraining);
    t.is(looks, 4);
    t.is(stdout, "us-1 is drained: 0 in flight, 0 relayed\n");
  } finally {
    stop();
    drain.takeBack(); // its grace would break off what isn't there
  }
});

test("an edge that doesn't answer is said to be not drained", async (t) => {
  const failed = await t.throwsAsync<Error & { code: number; stderr: string }>(drainer("us-2"));
  t.is(failed?.code, 1);
  t.regex(failed?.stderr ?? "", /^not drained: /);
});
