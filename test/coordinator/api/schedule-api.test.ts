// Rounds that start by themselves, as an operator sets and reads them over HTTP.
import test from "ava";
import type { CampaignState } from "../../../coordinator/rounds/campaign-state.ts";
import type { CampaignProgress } from "../../../coordinator/rounds/round-progress.ts";
import type { Schedule } from "../../../coordinator/rounds/schedule/schedule-record.ts";
import { startDemoMesh } from "../demo-mesh.ts";

const HOUR_MS = 3_600_000;

test("a schedule is set, listed and taken back; a campaign that repeats leaves one", async (t) => {
  const { coordinator } = await startDemoMesh(t, { evaluate: () => 90, regions: ["us"] });
  const put = async (model: string, body: object) => {
    const init = { method: "PUT", body: JSON.stringify(body) };
    const answer = await fetch(`${coordinator.http}/v1/schedules/${model}`, init);
    return { status: answer.status, body: (await answer.json()) as never };
  };
  const cases: [string, object, number][] = [
    ["none", { every: HOUR_MS }, 404],
    ["demo", { every: 5 }, 400],
    ["demo", { every: HOUR_MS, onDrift: "panic" }, 400],
    ["demo", { every: HOUR_MS, request: { rounds: 0 } }, 400],
    ["demo", { onDrift: "ignore" }, 400],
    ["demo", { every: HOUR_MS, request: { rounds: 2 } }, 200],
  ];
  for (const [model, body, status] of cases) {
    t.is((await put(model, body)).status, status, JSON.stringify(body));
  }
  const listed = () => coordinator.get<{ schedules: Schedule[] }>("/v1/schedules");
  t.like((await listed()).schedules[0], { model: "demo", every: HOUR_MS, onDrift: "suggest" });
  await fetch(`${coordinator.http}/v1/schedules/demo`, { method: "DELETE" });
  t.deepEqual((await listed()).schedules, []);
  const pace = { goal: 1, every: 2 * HOUR_MS };
  const order = { model: "demo", rounds: 1, params: { rank: 2, alpha: 4 }, pace };
  const { status, body } = await coordinator.post("/v1/campaigns", order);
  t.is(status, 201);
  const { id } = body as CampaignState;
  const [schedule] = (await listed()).schedules;
  t.like(schedule, { every: 2 * HOUR_MS, request: { rounds: 1, params: { rank: 2, alpha: 4 } } });
  const view = await coordinator.get<{ progress: CampaignProgress }>(`/v1/campaigns/${id}`);
  t.is(typeof view.progress.roundsDone, "number");
  await coordinator.post(`/v1/campaigns/${id}/stop`, {});
  const never = { ...order, pace: { goal: 2, quorum: 3 } };
  t.is((await coordinator.post("/v1/campaigns", never)).status, 400);
});
