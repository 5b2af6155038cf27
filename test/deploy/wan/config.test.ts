// Which networks can be described, and what their links are like where nobody says.
import test from "ava";
import { wanConfigSchema } from "../../../deploy/wan/config.ts";
import { linkShape } from "../../../deploy/wan/link-shape.ts";
import { siteFinder } from "../../../deploy/wan/site-finder.ts";
import { ConfigError, parseConfig } from "../../../runtime/config.ts";

const http = { port: 0 };
const sites = { us: {}, eu: {}, ap: {} };

function problemOf(config: object): string {
  try {
    parseConfig(wanConfigSchema, JSON.stringify(config), "wan.json");
    return "none";
  } catch (thrown) {
    if (thrown instanceof ConfigError) return thrown.message;
    throw thrown;
  }
}

test("what can't be is refused by its key", (t) => {
  const route = { port: 1, site: "us", target: "nats-us-g:7222" };
  const whole = { http, sites, links: [{ between: ["us", "eu"], rttMs: 5 }], routes: [route] };
  t.is(problemOf(whole), "none");
  const cases: [object, RegExp][] = [
    [{ links: [{ between: ["us", "mars"] }] }, /links\.0\.between\.1: there is no site "mars"/],
    [{ links: [{ between: ["us", "us"] }] }, /links\.0\.between: a link joins two sites/],
    [
      { links: [{ between: ["us", "eu"] }, { between: ["eu", "us"] }] },
      /links\.1\.between: this pair has a link already/,
    ],
    [{ links: [{ between: ["us", "eu"], lossRate: 0.9 }] }, /links\.0\.lossRate/],
    [{ links: [{ between: ["us", "eu"], rtt: 5 }] }, /links\.0: Unrecognized key: "rtt"/],
    [{ links: [{ between: ["us", "eu"], mbitPerS: 0 }] }, /links\.0\.mbitPerS/],
    [{ routes: [{ ...route, site: "mars" }] }, /routes\.0\.site: there is no site "mars"/],
    [{ routes: [{ ...route, from: "mars" }] }, /routes\.0\.from: there is no site "mars"/],
    [{ routes: [{ ...route, target: "nats-us-g" }] }, /routes\.0\.target/],
    [{ sites: { ...sites, ap: { subnets: ["10.77.3.0"] } } }, /sites\.ap\.subnets\.0/],
  ];
  for (const [change, expected] of cases) t.regex(problemOf({ ...whole, ...change }), expected);
});

test("links between continents are as far as those are, and central is in us", (t) => {
  const rttsMs = (...pair: [string, string]) => linkShape(...pair).rttMs;
  t.deepEqual([rttsMs("us", "eu"), rttsMs("ap", "eu"), rttsMs("us", "ap")], [80, 160, 140]);
  t.deepEqual(linkShape("eu", "us"), { rttMs: 80, jitterMs: 4, lossRate: 0.0005, mbitPerS: 500 });
  t.is(rttsMs("central", "ap"), 140);
  t.deepEqual(linkShape("us", "central"), { rttMs: 2, jitterMs: 0, lossRate: 0, mbitPerS: null });
  t.is(rttsMs("north", "south"), 100);
});

test("what is given stands, and the jitter goes with the round trip", (t) => {
  t.deepEqual(linkShape("us", "eu", { rttMs: 200, mbitPerS: null }), {
    rttMs: 200,
    jitterMs: 10,
    lossRate: 0.0005,
    mbitPerS: null,
  });
  t.is(linkShape("us", "eu", { rttMs: 200, jitterMs: 0 }).jitterMs, 0);
});

test("a caller's site is that of the network it came by, also where IPv4 is mapped", (t) => {
  const find = siteFinder({
    us: { subnets: ["10.77.1.0/24"] },
    eu: { subnets: ["10.77.2.0/24", "10.78.0.0/16"] },
  });
  t.is(find("10.77.1.9"), "us");
  t.is(find("10.78.200.1"), "eu");
  t.is(find("::ffff:10.77.2.3"), "eu");
  t.is(find("127.0.0.1"), undefined);
  t.is(find("::1"), undefined);
});
