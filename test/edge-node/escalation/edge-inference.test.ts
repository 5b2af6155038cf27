// Over real gRPC: direct callers are helped by the region, the region's own calls are not.
import test from "ava";
import { edgeInferenceService } from "../../../edge-node/escalation/edge-inference.ts";
import { Fault } from "../../../proto/fault.ts";
import { Inference } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { systemClock } from "../../../runtime/clock.ts";
import { createClient } from "../../../runtime/grpc/bridge.ts";
import { openChannel } from "../../../runtime/grpc/channel.ts";
import { startGrpcServer } from "../../../runtime/grpc/server.ts";
import { silentLog } from "../../../runtime/log.ts";
import { createMetrics } from "../../../runtime/metrics.ts";
import { visitedMetadata } from "../../../runtime/trunk/visited-metadata.ts";
import { serveScript } from "../serving/served-script.ts";

test("a call that passed a region is served or refused here; others may escalate", async (t) => {
  const local = serveScript();
  const elsewhere = serveScript();
  const log = silentLog();
  const options = {
    backend: elsewhere.admitted,
    log,
    clock: systemClock,
    metrics: createMetrics({ role: "edge" }),
  };
  const services = [edgeInferenceService(options, local.admitted)];
  const server = await startGrpcServer({ host: "127.0.0.1", port: 0, services, log });
  const channel = openChannel(`127.0.0.1:${server.port}`);
  t.teardown(async () => {
    channel.close();
    await server.stop();
  });
  const client = createClient(Inference, channel);
  const asked = { model: "m", inputs: ["x"] };
  const metadata = visitedMetadata(["us"]);
  t.is((await client.embed(asked, { metadata })).embeddings.length, 1);
  local.models.remove("m");
  t.is((await client.embed(asked)).embeddings.length, 1);
  const refused = await t.throwsAsync(client.embed(asked, { metadata }), { instanceOf: Fault });
  t.is(refused.code, "model-absent");
});
