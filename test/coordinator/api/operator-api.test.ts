// The operator's HTTP API: what it refuses, and what it tells.
import test from "ava";
import fc from "fast-check";
import type { CampaignState } from "../../../coordinator/rounds/campaign-state.ts";
import { startDemoMesh } from "../demo-mesh.ts";

const unknown = "f".repeat(64);

test("wrong requests are refused by field, and leave the coordinator as it was", async (t) => {
  const { coordinator } = await startDemoMesh(t, { evaluate: () => 90, regions: ["us"] });
  const base = { sha256: unknown, bytes: 3, name: "x.gguf" };
  const cases: [string, unknown, number, string, string | null][] = [
    ["/v1/models", { model: "m", base, more: 1 }, 400, "invalid-argument", null],
    ["/v1/models", { model: "../etc", base }, 400, "invalid-argument", "model"],
    [
      "/v1/models",
      { model: "m", base: { ...base, bytes: -1 } },
      400,
      "invalid-argument",
      "base.bytes",
    ],
    [
      "/v1/models",
      { model: "m", base: { ...base, sha256: "A" } },
      400,
      "invalid-argument",
      "base.sha256",
    ],
    ["/v1/models", { model: "m", base }, 412, "failed-precondition", "base"],
    ["/v1/models/none/rollout", { version: "1" }, 404, "model-not-found", null],
    ["/v1/models/demo/rollout", { version: "7" }, 404, "not-found", "version"],
    ["/v1/models/demo/rollout", {}, 400, "invalid-argument", "version"],
    ["/v1/models/demo/rollback", {}, 409, "conflict", null],
    ["/v1/campaigns", { model: "none" }, 404, "model-not-found", null],
    ["/v1/campaigns", { model: "demo", rounds: 0 }, 400, "invalid-argument", "rounds"],
    [
      "/v1/campaigns",
      { model: "demo", params: { rank: 0 } },
      400,
      "invalid-argument",
      "params.rank",
    ],
    ["/v1/campaigns", { model: "demo", params: { lr: 1 } }, 400, "invalid-argument", "params"],
    ["/v1/campaigns/none/stop", {}, 404, "not-found", null],
  ];
  for (const [path, body, status, code, param] of cases) {
    const answer = await coordinator.post(path, body);
    const { error } = answer.body as { error: { code: string; param: string | null } };
    t.deepEqual(
      [answer.status, error.code, error.param],
      [status, code, param],
      JSON.stringify(body),
    );
  }
  const law = fc.asyncProperty(
    fc.string(),
    fc.constantFrom("models", "campaigns"),
    async (body, at) => {
      const answer = await fetch(`${coordinator.http}/v1/${at}`, { method: "POST", body });
      await answer.body?.cancel();
      return answer.status >= 400 && answer.status < 500;
    },
  );
  await fc.assert(law, { seed: 3, numRuns: 60 });
  const { models } = await coordinator.get<{ models: { model: string; versions: number }[] }>(
    "/v1/models",
  );
  t.deepEqual(
    models.map(({ model, versions }) => [model, versions]),
    [["demo", 1]],
  );
  t.is(coordinator.exitCode, null);
});

test("publishing the same file again answers with the version that it is", async (t) => {
  const { coordinator } = await startDemoMesh(t, { evaluate: () => 90, regions: ["us"] });
  const base = await coordinator.upload(Buffer.from("second"), "second.gguf");
  const first = await coordinator.post("/v1/models", { model: "demo", base });
  const again = await coordinator.post("/v1/models", { model: "demo", base });
  t.deepEqual([first.status, first.body], [201, { version: "demo@2" } as never]);
  t.deepEqual([again.status, again.body], [200, { version: "demo@2" } as never]);
});

test("one campaign at a time for a model; stopped by hand, it tells its followers", async (t) => {
  const mesh = await startDemoMesh(t, { evaluate: () => 90, regions: ["us"] });
  const { coordinator, regions } = mesh;
  regions[0]!.isHeld = true;
  const started = await coordinator.post("/v1/campaigns", { model: "demo" });
  const { id } = started.body as CampaignState;
  t.is((await coordinator.post("/v1/campaigns", { model: "demo" })).status, 409);
  const events = await fetch(`${coordinator.http}/v1/campaigns/${id}/events`);
  t.is(events.headers.get("content-type"), "text/event-stream");
  await coordinator.post(`/v1/campaigns/${id}/stop`, {});
  // The stream ends by itself, its last state being the end.
  const states = (await events.text()).split("\n").filter((line) => line.startsWith("data:"));
  const last = JSON.parse(states.at(-1)!.slice(5)) as CampaignState;
  t.like(last, { id, phase: "stopped", reason: "stopped by the operator" });
  t.is((await coordinator.post("/v1/campaigns", { model: "demo" })).status, 201);
});
