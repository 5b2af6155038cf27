// A whole campaign under central noise: charged before it is offered, noised once, and stopped when
// the budget is spent, also across a kill.
import { execFile } from "node:child_process";
import { resolve } from "node:path";
import test from "ava";
import type { ModelRecord, VersionRecord } from "../../../coordinator/catalogue/model-record.ts";
import type { PrivacyAccount } from "../../../coordinator/privacy/privacy-ledger.ts";
import type { CampaignState } from "../../../coordinator/rounds/campaign-state.ts";
import { decodeSafetensors } from "../../../sync/formats/safetensors.ts";
import { privacyLoss } from "../../../sync/privacy/rdp-accountant.ts";
import { eventually } from "../../support/eventually.ts";
import { startDemoMesh } from "../demo-mesh.ts";

const launcher = resolve(import.meta.dirname, "../../../coordinator/cli/isthmus.mjs");
const DEADLINE_MS = 90_000;
const epsilonOf = (rounds: number) => {
  return privacyLoss([{ multiplier: 2, samplingRate: 1, rounds }], 1e-5).epsilon;
};

function isthmus(...args: string[]): Promise<string> {
  return new Promise((done, fail) => {
    execFile(process.execPath, [launcher, ...args], (error, out, err) => {
      if (error) fail(new Error(err));
      else done(out);
    });
  });
}

test("rounds under noise are charged, noised, and end with the budget", async (t) => {
  const mesh = await startDemoMesh(t, { evaluate: () => 90 });
  const budget = epsilonOf(2) + 0.1;
  const plan = { noise: { clip: 1, multiplier: 2 }, epsilonBudget: budget, delta: 1e-5 };
  const request = {
    ...{ model: "demo", rounds: 5, params: { rank: 2, alpha: 4 }, privacy: plan },
    gate: { holdMs: 0, patienceMs: 0 },
  };
  const { status, body } = await mesh.coordinator.post("/v1/campaigns", request);
  t.is(status, 201, JSON.stringify(body));
  const { id } = body as CampaignState;
  const over = await eventually(
    "the budget is spent",
    async () => {
      const campaign = await mesh.coordinator.get<CampaignState>(`/v1/campaigns/${id}`);
      return campaign.phase === "stopped" && campaign;
    },
    DEADLINE_MS,
  );
  t.deepEqual(
    over.past.map(({ phase }) => phase),
    ["promoted", "promoted", "abandoned"],
    over.reason,
  );
  t.regex(over.reason, /another round of demo would bring it to ε .* beyond its budget/);

  const [offer] = mesh.regions[0]!.offers;
  t.like(offer?.noise, { clip: 1, multiplier: 2, atEdge: false });
  t.is(offer?.params?.normMax, 1);
  t.not(offer?.adapterState, undefined);
  t.false(
    mesh.regions[0]!.offers.some(({ round }) => round > 2),
    "round 3 was never offered",
  );

  const path = "/v1/models/demo/privacy";
  const account = await mesh.coordinator.get<PrivacyAccount>(path);
  t.is(account.spent, epsilonOf(2));
  t.deepEqual(
    account.charges.map(({ round, state }) => [round, state]),
    [
      [1, "spent"],
      [2, "spent"],
    ],
  );

  type Detail = ModelRecord & { readonly lineage: readonly VersionRecord[] };
  const { lineage } = await mesh.coordinator.get<Detail>("/v1/models/demo");
  const { sha256 } = lineage[1]!.training!.state;
  const state = await fetch(new URL(`/v1/artifacts/${sha256}`, mesh.coordinator.http));
  const { tensors } = decodeSafetensors(Buffer.from(await state.arrayBuffer()), "state");
  // B begins at 0, each edge has changed it by 2, and the noise of four edges deviates by 2·1/4.
  const b = tensors.get("blk.0.attn_q.weight.lora_b")!.data;
  const mean = b.reduce((sum, value) => sum + value, 0) / b.length;
  t.true(Math.abs(mean - 2) < (5 * 0.5) / Math.sqrt(b.length), String([...b]));
  t.true(b.every((value) => value !== 2 && Math.abs(value - 2) < 3.5));
  t.is(new Set(b).size, b.length);

  await mesh.coordinator.kill();
  await mesh.restart();
  t.deepEqual(await mesh.coordinator.get<PrivacyAccount>(path), account);
  const bare = { model: "demo", rounds: 1, params: { rank: 2, alpha: 4 } };
  const refused = await mesh.coordinator.post("/v1/campaigns", bare);
  t.true(refused.status >= 400);
  t.regex(JSON.stringify(refused.body), /a round without noise has no bound/);
  const robust = { ...request, strategy: { combine: "krum" } };
  const clash = await mesh.coordinator.post("/v1/campaigns", robust);
  t.regex(JSON.stringify(clash.body), /krum has another sensitivity/);

  const out = await isthmus("models", "privacy", "demo", "--coordinator", mesh.coordinator.http);
  t.regex(out, /^demo: ε 3\.189 at δ 0\.00001, budget ε 3\.289$/m);
  t.regex(out, /2 +2 +center +spent/);
  const looser = isthmus(
    ...["models", "privacy", "demo", "--budget", "50", "--coordinator", mesh.coordinator.http],
  );
  await t.throwsAsync(looser, { message: /was promised/ });
});
