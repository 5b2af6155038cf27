// What the generated server configurations say; that servers take them is tested by real ones.
import test from "ava";
import { type NatsSite, natsServerPlans, natsUrls } from "../../../deploy/nats/config.ts";

function site(region: string, base: number): NatsSite {
  return {
    region,
    ports: {
      coreClient: base,
      coreGateway: base + 1,
      coreLeaf: base + 2,
      coreMonitor: base + 3,
      jetstreamClient: base + 4,
      jetstreamMonitor: base + 5,
    },
  };
}

const sites = [site("central", 9000), site("us", 9100), site("eu", 9200)];
const plans = natsServerPlans(sites, "/state/nats");
const configOf = (name: string) => plans.find((plan) => plan.name === name)?.config ?? "";

test("each site has a core server and a JetStream server", (t) => {
  t.deepEqual(
    plans.map(({ name, region, kind, url }) => `${name} ${region} ${kind} ${url}`),
    [
      "nats-central-g central g nats://127.0.0.1:9000",
      "nats-central-j central j nats://127.0.0.1:9004",
      "nats-us-g us g nats://127.0.0.1:9100",
      "nats-us-j us j nats://127.0.0.1:9104",
      "nats-eu-g eu g nats://127.0.0.1:9200",
      "nats-eu-j eu j nats://127.0.0.1:9204",
    ],
  );
});

test("a core server has a gateway to every other site, none to itself, no JetStream", (t) => {
  const config = configOf("nats-us-g");
  t.true(config.includes('{ name: "central", url: "nats://127.0.0.1:9001" }'));
  t.true(config.includes('{ name: "eu", url: "nats://127.0.0.1:9201" }'));
  t.false(config.includes("nats://127.0.0.1:9101"));
  t.false(config.includes("jetstream"));
});

test("a JetStream server is a leaf of its core, in its region's domain and folder", (t) => {
  const config = configOf("nats-eu-j");
  t.true(config.includes("nats-leaf://app:app@127.0.0.1:9202"));
  t.true(config.includes('domain: "eu"'));
  t.true(config.includes('store_dir: "/state/nats/eu"'));
  t.false(config.includes("gateway"));
});

test("nothing listens beyond the loopback address", (t) => {
  for (const { config } of plans) {
    const listeners = config.match(/(listen|http): .*/g) ?? [];
    t.true(listeners.length >= 2);
    for (const line of listeners) t.regex(line, /"127\.0\.0\.1:\d+"/);
    t.notRegex(config, /^port:/m);
  }
});

test("a role connects to the JetStream server first and has the core as the other", (t) => {
  t.deepEqual(natsUrls(site("us", 9100)), ["nats://127.0.0.1:9104", "nats://127.0.0.1:9100"]);
});

test("with a wiring, servers find each other only where it says, and are told so too", (t) => {
  const asked: string[] = [];
  const via = (from: string, address: string) => {
    asked.push(`${from} > ${address}`);
    return address.replace(":9", ":7");
  };
  const wiredPlans = natsServerPlans(sites, "/state/nats", via);
  const us = wiredPlans.find(({ name }) => name === "nats-us-g")?.config ?? "";
  t.true(us.includes('{ name: "eu", url: "nats://127.0.0.1:7201" }'));
  t.true(us.includes('listen: "127.0.0.1:9101"\n  advertise: "127.0.0.1:7101"'));
  t.true(us.includes('listen: "127.0.0.1:9102"\n  advertise: "127.0.0.1:7102"'));
  const leaf = wiredPlans.find(({ name }) => name === "nats-us-j")?.config ?? "";
  t.true(leaf.includes("nats-leaf://app:app@127.0.0.1:7102"));
  t.true(asked.includes("nats-us-g > 127.0.0.1:9201"));
  t.true(asked.includes("nats-us-j > 127.0.0.1:9102"));
  t.true(asked.includes("anybody > 127.0.0.1:9101"));
});

test("on hosts of their own, servers listen everywhere and are found by host names", (t) => {
  const hosted = ["us", "eu"].map((region) => ({
    ...site(region, 9100),
    hosts: { core: `nats-${region}-g`, jetstream: `nats-${region}-j` },
  }));
  const [core, jetstream] = natsServerPlans(hosted, "/data");
  t.true(core?.config.includes('{ name: "eu", url: "nats://nats-eu-g:9101" }'));
  t.true(core?.config.includes('listen: "0.0.0.0:9101"\n  advertise: "nats-us-g:9101"'));
  t.is(core?.monitorUrl, "http://nats-us-g:9103");
  t.true(jetstream?.config.includes("nats-leaf://app:app@nats-us-g:9102"));
  t.true(jetstream?.config.includes('listen: "0.0.0.0:9104"'));
  t.is(jetstream?.url, "nats://nats-us-j:9104");
  t.deepEqual(natsUrls(hosted[0]!), ["nats://nats-us-j:9104", "nats://nats-us-g:9100"]);
});
