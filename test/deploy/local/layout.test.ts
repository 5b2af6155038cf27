// Where things are: ports and folders that never collide and never move.
import test from "ava";
import { meshLayout, portSpan } from "../../../deploy/local/layout.ts";
import { defaultShape, helpText, readCommandLine } from "../../../deploy/local/options.ts";

test("the default layout puts everything where the help text says", (t) => {
  const { coordinator, regions } = meshLayout(defaultShape);
  t.is(coordinator.http, "http://127.0.0.1:8400");
  t.deepEqual(
    regions.map(({ name, http, grpc }) => [name, http, grpc]),
    [
      ["us", "http://127.0.0.1:8450", "127.0.0.1:8451"],
      ["eu", "http://127.0.0.1:8500", "127.0.0.1:8501"],
      ["ap", "http://127.0.0.1:8550", "127.0.0.1:8551"],
    ],
  );
  t.deepEqual(
    regions[1]?.edges.map(({ name, http, grpc }) => [name, http, grpc]),
    [
      ["eu-1", "http://127.0.0.1:8510", "127.0.0.1:8511"],
      ["eu-2", "http://127.0.0.1:8512", "127.0.0.1:8513"],
    ],
  );
  t.true(helpText.includes("the next 50"));
});

test("no two parts of any allowed mesh share a port, and none leaves the span", (t) => {
  for (const regionCount of [1, 3, 12]) {
    for (const edges of [1, 2, 20]) {
      for (const wan of [false, true]) {
        const regions = Array.from({ length: regionCount }, (_, index) => `r${index}`);
        const { ports } = meshLayout({ dir: "d", regions, edges, portBase: 20_000, wan });
        const numbers = ports.map(({ port }) => port);
        t.is(new Set(numbers).size, numbers.length);
        t.true(Math.min(...numbers) === 20_000);
        t.true(Math.max(...numbers) < 20_000 + portSpan(regionCount, wan));
      }
    }
  }
});

test("more edges leave every address of the others where it was", (t) => {
  const few = meshLayout(defaultShape);
  const many = meshLayout({ ...defaultShape, edges: 20 });
  t.deepEqual(many.nats, few.nats);
  t.deepEqual(
    many.regions.map(({ edges }) => edges.slice(0, 2)),
    few.regions.map(({ edges }) => edges),
  );
});

test("options are read, and what isn't given keeps its default", (t) => {
  t.like(readCommandLine([]), {
    ...defaultShape,
    model: undefined,
    restart: false,
    wan: false,
    help: false,
  });
  const args = ["--regions", "north, south", "--edges", "3", "--port-base", "9000", "--restart"];
  t.like(readCommandLine([...args, "--model", "m.gguf", "--dir", "elsewhere", "--wan"]), {
    wan: true,
    regions: ["north", "south"],
    edges: 3,
    portBase: 9000,
    restart: true,
    model: "m.gguf",
    dir: "elsewhere",
  });
});
