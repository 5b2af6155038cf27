// What one edge serves of what is told to all.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import { desiredOf } from "../../../edge-node/versions/desired-share.ts";
import { DesiredStateSchema } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";

const told = create(DesiredStateSchema, {
  revision: 3n,
  models: [
    { model: "m", version: "m@1" },
    { model: "n", version: "n@1" },
  ],
  trials: [
    { version: { model: "m", version: "m@2" }, edges: ["us/us-1", "eu/us-2"] },
    { version: { model: "gone", version: "gone@2" }, edges: ["us/us-1"] },
    { edges: ["us/us-1"] },
  ],
});
const served = (name: string) => desiredOf(told, name).map(({ version }) => version);

test("an edge that was chosen serves the version that it tries", (t) => {
  t.deepEqual(served("us/us-1"), ["m@2", "n@1"]);
});

test("every other edge serves what is desired, one of the same name in another region too", (t) => {
  t.deepEqual(served("us/us-2"), ["m@1", "n@1"]);
  t.deepEqual(served("eu/us-2"), ["m@2", "n@1"]);
});
