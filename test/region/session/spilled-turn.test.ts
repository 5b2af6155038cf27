// Which region keeps a turn that is served in another one: the first on the way that may.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import { GenerateRequestSchema, PolicySchema } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { eventually } from "../../support/eventually.ts";
import { contextOf, requestFor, startInProcessRegion } from "../in-process-region.ts";

test("a turn that was given its context here spills as a request like any other", async (t) => {
  const eu = await startInProcessRegion(t, "eu");
  const edge = await eu.addEdge("eu-1");
  const us = await startInProcessRegion(t, "us", { peers: [eu.address] });
  await eventually("us reaches eu", () => us.peers.get("eu")?.trunk.state === "up");
  const turn = (regions: string[]) =>
    create(GenerateRequestSchema, {
      ...requestFor(2),
      sessionId: "s",
      policy: create(PolicySchema, { regions }),
    });
  await us.gateway.generate(turn([]), contextOf(), () => {});
  t.is(edge.backend.taken.at(-1)?.request.sessionId, "", "us keeps it");
  await us.gateway.generate(turn(["eu"]), contextOf(), () => {});
  t.is(edge.backend.taken.at(-1)?.request.sessionId, "s", "us may not: eu does");
});
