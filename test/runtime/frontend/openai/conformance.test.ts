// The conformance suite against a scripted backend in this process.
import test from "ava";
import type { ConformanceTarget } from "../../../conformance/conformance-target.ts";
import { openAiConformance } from "../../../conformance/openai.ts";
import { type FrontendServers, startFrontends } from "../../../support/frontend-servers.ts";
import { createScriptedBackend, scriptedModel } from "../../../support/scripted-backend.ts";

let servers: FrontendServers;
let target: ConformanceTarget;

test.before(async () => {
  servers = await startFrontends(createScriptedBackend());
  const { http, grpc } = servers;
  target = { http, grpc, model: scriptedModel, prompt: "say a few words", embeds: true };
});
test.after.always(() => servers.stop());

openAiConformance(test, () => target);
