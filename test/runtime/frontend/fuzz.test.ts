// Bad input against a scripted backend in this process.
import test from "ava";
import type { ConformanceTarget } from "../../conformance/conformance-target.ts";
import { fuzzConformance } from "../../conformance/fuzz.ts";
import { type FrontendServers, startFrontends } from "../../support/frontend-servers.ts";
import { createScriptedBackend, scriptedModel } from "../../support/scripted-backend.ts";

const backend = createScriptedBackend();
let servers: FrontendServers;
let target: ConformanceTarget;

test.before(async () => {
  servers = await startFrontends(backend);
  const { http, grpc } = servers;
  target = { http, grpc, model: scriptedModel, prompt: "hello", embeds: true };
});
test.after.always(() => servers.stop());

fuzzConformance(test, () => target, { runs: 300, seed: 20_26 });

test.after("nothing is left open in the backend", (t) => {
  t.is(backend.open, 0);
});
