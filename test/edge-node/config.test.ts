// The configuration of an edge: few keys, defaults for the rest, and errors that name the key.
import test from "ava";
import { edgeConfigSchema } from "../../edge-node/config.ts";
import { ConfigError, parseConfig } from "../../runtime/config.ts";

const parse = (json: object) => parseConfig(edgeConfigSchema, JSON.stringify(json), "edge.json");
const least = { name: "us-1", region: "us", dir: "/tmp/edge" };

test("a name, a region and a folder are enough", (t) => {
  const config = parse(least);
  t.like(config, {
    http: { host: "127.0.0.1", port: 0 },
    nats: [],
    engine: { slots: 8, contextSize: 1024, gpu: false },
    queueMax: 32,
    training: { enabled: true, threads: 1, shareWhileBusy: 0.2 },
    models: [],
    jurisdictions: undefined,
    labels: { watts: 0, costPerHour: 0, preemptible: false },
  });
  t.is(config.gateway, undefined);
  t.true(config.engine.threads >= 1);
});

test("a part of a group keeps the defaults of the rest", (t) => {
  const config = parse({ ...least, engine: { slots: 2 }, http: { port: 8080 } });
  t.like(config.engine, { slots: 2, contextSize: 1024 });
  t.deepEqual(config.http, { host: "127.0.0.1", port: 8080 });
});

const wrong: [object, RegExp][] = [
  [{ ...least, name: "US 1" }, /name/],
  [{ ...least, engin: {} }, /engin/],
  [{ ...least, engine: { slots: 0 } }, /engine\.slots/],
  [{ ...least, gateway: { http: "http://x/", grpc: "x:1" } }, /gateway\.http/],
  [{ ...least, gateway: { http: "http://x:1", grpc: "x" } }, /gateway\.grpc/],
  [{ ...least, labels: { watts: -1 } }, /labels\.watts/],
  [{ ...least, jurisdictions: "eu" }, /jurisdictions/],
  [{ ...least, models: [{ model: "a b", path: "/x" }] }, /models\.0\.model/],
  [{ ...least, examples: { bytesMax: 1 } }, /examples\.bytesMax/],
  [{ ...least, drift: { inputs: 32 } }, /drift\.inputsMin: must be at most inputs/],
  [{ ...least, privateData: { m: { name: "media" } } }, /privateData\.m\.train/],
  [{ name: "us-1", region: "us" }, /dir/],
];

for (const [json, key] of wrong) {
  test(`what is wrong is named: ${key.source}`, (t) => {
    const error = t.throws(() => parse(json), { instanceOf: ConfigError });
    t.regex(error.message, key);
  });
}
