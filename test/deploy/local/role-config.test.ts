// What the launcher tells each role about where to find the others.
import test from "ava";
import { meshLayout } from "../../../deploy/local/layout.ts";
import { defaultShape } from "../../../deploy/local/options.ts";
import { coordinatorConfig, edgeConfig, regionConfig } from "../../../deploy/local/role-config.ts";

const edgeOf = (layout: ReturnType<typeof meshLayout>) => {
  const region = layout.regions[0]!;
  return edgeConfig(layout, region, region.edges[0]!, {}, {});
};

test("without a wiring, roles find each other where they listen and say nothing else", (t) => {
  const layout = meshLayout(defaultShape);
  const region = regionConfig(layout, layout.regions[0]!, {});
  t.false("advertise" in region);
  t.like(region, {
    peers: [
      { region: "eu", http: "http://127.0.0.1:8500", grpc: "127.0.0.1:8501" },
      { region: "ap", http: "http://127.0.0.1:8550", grpc: "127.0.0.1:8551" },
    ],
  });
  t.false("advertise" in edgeOf(layout));
});

test("a region carries its legal regimes, one of another name that name alone", (t) => {
  const layout = meshLayout({ ...defaultShape, regions: ["eu", "moon"] });
  const labelsOf = (at: number) => regionConfig(layout, layout.regions[at]!, {}).labels;
  t.deepEqual(labelsOf(0), { jurisdictions: ["gdpr", "eu"] });
  t.deepEqual(labelsOf(1), { jurisdictions: ["moon"] });
});

test("with a wiring, each role finds every other one by its own way", (t) => {
  const via = (from: string, address: string) => `${from}.to:${address.split(":")[1]}`;
  const layout = meshLayout({ ...defaultShape, via });
  t.like(coordinatorConfig(layout, {}), {
    nats: ["nats://coordinator.to:8406", "nats://coordinator.to:8402"],
  });
  t.like(regionConfig(layout, layout.regions[0]!, {}), {
    http: { host: "127.0.0.1", port: 8450 },
    advertise: { http: "http://anybody.to:8450", grpc: "anybody.to:8451" },
    coordinator: { http: "http://us.to:8400" },
    nats: ["nats://us.to:8456", "nats://us.to:8452"],
    peers: [
      { region: "eu", http: "http://us.to:8500", grpc: "us.to:8501", fixed: true },
      { region: "ap", http: "http://us.to:8550", grpc: "us.to:8551", fixed: true },
    ],
  });
  t.like(edgeOf(layout), {
    advertise: { http: "http://us.to:8460", grpc: "us.to:8461" },
    gateway: { http: "http://us-1.to:8450", grpc: "us-1.to:8451" },
    nats: ["nats://us-1.to:8456", "nats://us-1.to:8452"],
  });
});
