// That every way between processes leads through a proxy of its own.
import test from "ava";
import { meshLayout } from "../../deploy/local/layout.ts";
import { edgeConfig, regionConfig } from "../../deploy/local/role-config.ts";
import { layLinks } from "./mesh-links.ts";

const shape = { dir: "unused", regions: ["us", "eu"], edges: 2, portBase: 20_000 };

test("nobody is told an address of another's gRPC or NATS but a proxy's", async (t) => {
  await using links = await layLinks(shape, () => 0);
  const layout = meshLayout({ ...shape, via: links.via });
  const own = new Set(
    layout.ports
      .map(({ port }) => `127.0.0.1:${port}`)
      .filter((address) => isLaid(address, layout)),
  );
  const told = [
    ...layout.regions.flatMap((region) => [
      pick(regionConfig(layout, region, {}), ["advertise", "nats", "peers"]),
      ...region.edges.map((edge) =>
        pick(edgeConfig(layout, region, edge, {}, {}), ["advertise", "nats", "gateway"]),
      ),
    ]),
    ...layout.nats.map(({ config }) => config.replaceAll(/(listen|http): "[^"]*"/g, "")),
  ];
  for (const text of told.map((part) => JSON.stringify(part))) {
    for (const [address] of text.matchAll(/127\.0\.0\.1:\d+/g)) t.false(own.has(address), text);
  }
});

test("each link leads to what it is named after", async (t) => {
  await using links = await layLinks(shape, () => 0);
  const layout = meshLayout(shape);
  const grpcOf = (index: number) => layout.regions[index]?.grpc ?? "";
  t.is(links.link("us", "eu").target, grpcOf(1));
  t.is(links.link("us", "us-1").target, layout.regions[0]?.edges[0]?.grpc ?? "");
  t.is(links.link("us-1", "us").target, grpcOf(0));
  t.not(links.link("us", "eu").address, links.link("anybody", "eu").address);
  t.is(links.via("us", grpcOf(1)), links.link("us", "eu").address);
  t.throws(() => links.link("us-1", "eu-1"), { message: /no link was laid/ });
});

/** HTTP has no proxies: models and deltas are fetched by it, and each fetch can be made again. */
function isLaid(address: string, layout: ReturnType<typeof meshLayout>): boolean {
  const roles = [...layout.regions, ...layout.regions.flatMap(({ edges }) => edges)];
  return !roles.some(({ http }) => http.endsWith(address));
}

function pick(config: Readonly<Record<string, unknown>>, keys: readonly string[]) {
  return keys.map((key) => config[key]);
}
