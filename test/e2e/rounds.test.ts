// A short federated round on a real mesh: edges train on what never leaves them, the merged adapter
// is proven on what is served, rolled out under a caller's streams, and rolled back.
import test from "ava";
import { CoordinatorClient } from "../../coordinator/cli/coordinator-client.ts";
import { eventually } from "../support/eventually.ts";
import { runCampaign } from "./campaign.ts";
import { grpcDoor, prompts, runStreams } from "./stream-set.ts";
import { startTestMesh, type TestMesh } from "./test-mesh.ts";

/**
 * A few steps and requests show every part at work; the whole campaign is `npm run prove:rounds`.
 */
const SLICE = { rounds: 1, params: { steps: 6 }, gate: { live: { samples: 5 } } };

let mesh: TestMesh;

test.before(async (t) => {
  t.timeout(180_000);
  mesh = await startTestMesh({ edges: 1 });
});

test.after.always(async () => {
  await mesh?.[Symbol.asyncDispose]();
});

test.serial(
  "a round ends in a proven version that is served under a caller's streams",
  async (t) => {
    t.timeout(280_000);
    const { campaign, caller } = await runCampaign(mesh, SLICE);
    t.is(campaign.phase, "finished");
    const [round] = campaign.past;
    t.like(round, { phase: "promoted", version: "commands@2" });
    t.is(round?.buckets.included, 3, "one edge of each region");
    t.true(round!.lossAfter < round!.lossBefore, "training lowered the loss");
    const sets = round!.evaluations.map(({ dataset }) => dataset).sort();
    t.deepEqual(sets, ["appliance", "garden", "home", "media"]);
    t.true(caller.streams > 0);
    t.deepEqual(caller.versions.slice(0, 1), ["commands@1"]);
    await eventually("the gateway serves the new version", async () => {
      const { open, close } = grpcDoor(mesh.grpc("us"));
      const [record] = await runStreams(open, prompts(1));
      close();
      return record?.started?.version === "commands@2";
    });
  },
);

test.serial("a rollback serves the version before, everywhere", async (t) => {
  t.timeout(120_000);
  const coordinator = new CoordinatorClient(mesh.http("coordinator"), new AbortController().signal);
  await coordinator.post("/v1/models/commands/rollback", {});
  for (const region of ["us", "eu", "ap"]) {
    const version = await eventually(`${region} serves the version before`, async () => {
      const { open, close } = grpcDoor(mesh.grpc(`${region}-1`));
      const [record] = await runStreams(open, prompts(1));
      close();
      return record?.started?.version === "commands@1" && record.started.version;
    });
    t.is(version, "commands@1");
  }
});
