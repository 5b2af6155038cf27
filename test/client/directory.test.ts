// Which edge a client prefers, and how that changes with measurements and failures.
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import test from "ava";
import fc from "fast-check";
import {
  type Directory,
  ENDPOINTS_MAX,
  emptyDirectory,
  failed,
  learn,
  measured,
} from "../../client/directory.ts";
import { candidatesFor } from "../../client/endpoint-choice.ts";
import {
  GetTopologyResponseSchema,
  type RegionAddressSchema,
} from "../../proto/gen/isthmus/v1/discovery_pb.ts";

function topology(...regions: MessageInitShape<typeof RegionAddressSchema>[]) {
  return create(GetTopologyResponseSchema, { region: "us", regions });
}

function region(name: string, edges: number, models = ["m"], reachable = true) {
  return {
    region: name,
    grpc: `${name}:1`,
    reachable,
    edges: Array.from({ length: edges }, (_, index) => ({
      edge: `${name}-${index + 1}`,
      region: name,
      grpc: `${name}-${index + 1}:1`,
      ready: true,
      models,
    })),
  };
}

const keys = (directory: Directory, model = "m") =>
  candidatesFor(directory, { model }).map(({ key }) => key);

function meshOfTwo(): Directory {
  let directory = learn(emptyDirectory(), topology(region("eu", 2), region("us", 2)));
  const rtts = { "us/us-1": 30, "us/us-2": 31, "eu/eu-1": 5, "eu/eu-2": 4, eu: 4, us: 30 };
  for (const [key, rttMs] of Object.entries(rtts)) directory = measured(directory, key, rttMs);
  return directory;
}

test("healthy edges come from near to far, then gateways from near to far", (t) => {
  t.deepEqual(keys(meshOfTwo()), ["eu/eu-1", "eu/eu-2", "us/us-1", "us/us-2", "eu", "us"]);
});

test("an edge a little nearer does not take over, a clearly nearer one does", (t) => {
  const directory = meshOfTwo();
  t.is(directory.preferred.get("m"), "eu/eu-1", "eu-2 is only 1 ms nearer");
  let moved = directory;
  for (let k = 0; k < 40; k += 1) moved = measured(moved, "us/us-2", 0.5);
  t.is(moved.preferred.get("m"), "us/us-2");
});

test("after two failures an edge is tried last, and one answer brings it back", (t) => {
  let directory = failed(meshOfTwo(), "eu/eu-1");
  t.is(keys(directory)[0], "eu/eu-1", "one failure may be chance");
  directory = failed(directory, "eu/eu-1");
  t.is(keys(directory)[0], "eu/eu-2");
  t.is(keys(directory).at(-1), "eu/eu-1");
  t.is(keys(measured(directory, "eu/eu-1", 1))[1], "eu/eu-1", "behind the one now in use");
});

test("edges without the model come after the gateways, which reach all models", (t) => {
  const directory = learn(emptyDirectory(), topology(region("eu", 1, ["other"]), region("us", 1)));
  t.deepEqual(keys(directory), ["us/us-1", "eu", "us", "eu/eu-1"]);
});

test("measurements survive a new topology, unless the endpoint moved to another address", (t) => {
  const again = learn(meshOfTwo(), topology(region("eu", 2), region("us", 2)));
  t.is(again.endpoints.get("eu/eu-1")?.rttMs, 5);
  const moved = { ...region("eu", 1), edges: [{ edge: "eu-1", grpc: "new:1", ready: true }] };
  t.is(learn(again, topology(moved)).endpoints.get("eu/eu-1")?.rttMs, Number.POSITIVE_INFINITY);
});

test("a region out of sight keeps its edges, a region that is gone does not", (t) => {
  const hidden = learn(
    meshOfTwo(),
    topology(region("eu", 2), { ...region("us", 0), reachable: false }),
  );
  t.true(keys(hidden).includes("us/us-1"));
  t.false(keys(learn(hidden, topology(region("eu", 2)))).includes("us/us-1"));
});

test("the directory is bounded, and the farthest are forgotten", (t) => {
  const directory = learn(emptyDirectory(), topology(region("eu", ENDPOINTS_MAX + 50)));
  t.is(directory.endpoints.size, ENDPOINTS_MAX);
});

test("whatever happens, every endpoint is a candidate exactly once", (t) => {
  const event = fc.record({
    key: fc.constantFrom("eu/eu-1", "eu/eu-2", "us/us-1", "us/us-2", "eu", "us", "nobody"),
    rttMs: fc.option(fc.double({ min: 0, max: 500, noNaN: true })),
  });
  fc.assert(
    fc.property(fc.array(event, { maxLength: 60 }), (events) => {
      let directory = meshOfTwo();
      for (const { key, rttMs } of events) {
        directory = rttMs === null ? failed(directory, key) : measured(directory, key, rttMs);
      }
      return keys(directory).toSorted().join() === "eu,eu/eu-1,eu/eu-2,us,us/us-1,us/us-2";
    }),
  );
  t.pass();
});
