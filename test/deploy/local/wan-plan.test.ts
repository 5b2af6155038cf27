// That whatever leaves a site of a local mesh goes through the emulated network, and nothing else.
import test from "ava";
import { meshLayout, portSpan } from "../../../deploy/local/layout.ts";
import { edgeConfig, regionConfig } from "../../../deploy/local/role-config.ts";
import { wanPortSpan } from "../../../deploy/local/wan-plan.ts";
import { type WanConfig, wanConfigSchema } from "../../../deploy/wan/config.ts";

const shape = { dir: "d", regions: ["us", "eu", "ap"], edges: 2, portBase: 20_000 };
const layout = meshLayout({ ...shape, wan: true });
const plain = meshLayout(shape);
const config: WanConfig = wanConfigSchema.parse(layout.wan?.config);

const portsIn = (value: unknown) =>
  [...JSON.stringify(value).matchAll(/127\.0\.0\.1:(\d+)/g)].map((match) => Number(match[1]));
const firstOwn = shape.portBase + portSpan(3);
const isOwn = (port: number) => port >= firstOwn && port < firstOwn + wanPortSpan(3);

test("a region finds other sites through the network, and its own directly", (t) => {
  for (const region of layout.regions) {
    const { peers, coordinator, nats } = regionConfig(layout, region, {});
    t.true([...portsIn(peers), ...portsIn(coordinator)].every(isOwn));
    t.is(portsIn(peers).length, 4);
    t.false([...portsIn(nats)].some(isOwn));
    const before = plain.regions.find(({ name }) => name === region.name)!;
    t.deepEqual(nats, before.natsUrls);
    for (const edge of region.edges) {
      const { gateway, advertise, nats: edgeNats } = edgeConfig(layout, region, edge, {}, {});
      t.false([gateway, advertise, edgeNats].flatMap(portsIn).some(isOwn), edge.name);
    }
  }
});

test("servers find other sites' through the network, and tell nobody where they listen", (t) => {
  for (const { config: text, kind, ports } of layout.nats) {
    const urls = [...text.matchAll(/url: "nats:\/\/127\.0\.0\.1:(\d+)"/g)];
    if (kind === "j") continue;
    t.is(urls.length, 3);
    t.true(
      urls.every((match) => isOwn(Number(match[1]))),
      text,
    );
    t.false(text.includes(`advertise: "127.0.0.1:${ports.gateway}"`));
  }
});

test("each port of the network leads to one target, from one site to another", (t) => {
  t.is(config.routes.length, wanPortSpan(3) - 1);
  const targets = new Map(plain.ports.map(({ port, owner }) => [port, owner]));
  for (const { from, site, target } of config.routes) {
    t.not(from, site);
    const owner = targets.get(Number(target.split(":")[1])) ?? "";
    t.regex(owner, site === "central" ? /coordinator|nats-central-g/ : RegExp(`${site}(,|-g)`));
  }
  const peer = layout.wan!.via("us", plain.regions[1]!.grpc);
  const route = config.routes.find(({ port }) => peer === `127.0.0.1:${port}`);
  t.like(route, { from: "us", site: "eu", target: plain.regions[1]!.grpc });
});

test("a mesh has one wiring: a network and another at once are a bug", (t) => {
  t.throws(() => meshLayout({ ...shape, wan: true, via: (_, address) => address }), {
    instanceOf: TypeError,
  });
  t.throws(() => meshLayout({ ...shape, regions: ["us", "wan"], wan: true }), {
    message: /"wan" is the emulated network's own name/,
  });
});
