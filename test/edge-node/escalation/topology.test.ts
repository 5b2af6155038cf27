// What an edge tells of the mesh: itself at least, and its region's word laid under its own.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import { mergeTopology, TopologyCache } from "../../../edge-node/escalation/topology.ts";
import {
  EdgeAddressSchema,
  GetTopologyResponseSchema,
} from "../../../proto/gen/isthmus/v1/discovery_pb.ts";
import { systemClock } from "../../../runtime/clock.ts";
import { discoveryService } from "../../../runtime/frontend/discovery.ts";
import { startGrpcServer } from "../../../runtime/grpc/server.ts";
import { silentLog } from "../../../runtime/log.ts";
import { eventually } from "../../support/eventually.ts";

const self = create(EdgeAddressSchema, {
  edge: "us-1",
  region: "us",
  grpc: "127.0.0.1:5",
  http: "http://127.0.0.1:6",
  ready: true,
  models: ["m"],
});
const gateway = { http: "http://127.0.0.1:1", grpc: "127.0.0.1:2" };
const told = () =>
  create(GetTopologyResponseSchema, {
    region: "us",
    regions: [
      {
        region: "us",
        grpc: gateway.grpc,
        reachable: true,
        edges: [
          { edge: "us-1", region: "us", ready: false },
          { edge: "us-2", region: "us", ready: true },
        ],
      },
      { region: "eu", grpc: "127.0.0.1:3", reachable: true },
    ],
  });

test("alone, an edge tells of itself and of no gateway", (t) => {
  const { region, regions } = mergeTopology(self, undefined, undefined, false);
  t.is(region, "us");
  t.is(regions.length, 1);
  t.like(regions[0], { region: "us", grpc: "", reachable: false });
  t.deepEqual(regions[0]!.edges, [self]);
});

test("what it knows of itself goes before what the region says of it", (t) => {
  const before = told();
  const { regions } = mergeTopology(self, gateway, before, true);
  t.deepEqual(
    regions.map(({ region, reachable }) => [region, reachable]),
    [
      ["us", true],
      ["eu", true],
    ],
  );
  t.deepEqual(
    regions[0]!.edges.map(({ edge, ready }) => [edge, ready]),
    [
      ["us-2", true],
      ["us-1", true],
    ],
  );
  t.deepEqual(before, told(), "the region's word is left as it was");
});

test("the last word of a region that falls silent is kept, marked unreachable", async (t) => {
  const log = silentLog();
  const services = [discoveryService(told)];
  const server = await startGrpcServer({ host: "127.0.0.1", port: 0, services, log });
  const grpc = `127.0.0.1:${server.port}`;
  const cache = new TopologyCache({ gateway: { ...gateway, grpc }, clock: systemClock, log });
  t.teardown(() => cache.stop());
  t.is(mergeTopology(self, gateway, cache.told, cache.isReachable).regions.length, 1);
  await eventually("the region has told", () => cache.isReachable);
  await server.stop();
  await eventually("the region is missed", () => !cache.isReachable);
  const { regions } = mergeTopology(self, gateway, cache.told, cache.isReachable);
  t.is(regions.length, 2);
  t.false(regions[0]!.reachable);
});
