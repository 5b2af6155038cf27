// Plants a bug of each kind in a small simulated mesh, and expects the audit to notice: one that
// can't fail proves nothing.
import test from "ava";
import type { GenerateResponse } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import type { Sabotage } from "../world/sabotage.ts";
import { type AuditSeed, runAudit } from "./audit-run.ts";
import type { AuditRule } from "./auditor.ts";

const size: AuditSeed = {
  ...{ seed: 3, edges: 9, regions: 3, seconds: 8, ratePerS: 40, found: "" },
};

type Tokens = Extract<GenerateResponse["event"], { case: "tokens" }>["value"];

/** Changes the tokens of about one event in fifty. */
function tampering(change: (tokens: Tokens) => readonly Tokens[]): Sabotage {
  let count = 0;
  return {
    tamper: (response) => {
      const { event } = response;
      if (event.case !== "tokens" || event.value.ids.length === 0) return [response];
      count += 1;
      if (count % 50 !== 0) return [response];
      return change(event.value).map((value) => ({
        ...response,
        event: { case: "tokens", value },
      }));
    },
  };
}

const bugs: readonly (readonly [string, AuditRule, () => Sabotage])[] = [
  ["a token that comes twice", "tokens", () => tampering((tokens) => [tokens, tokens])],
  ["a token that is lost", "tokens", () => tampering(() => [])],
  [
    "a token that is another",
    "tokens",
    () => tampering((tokens) => [{ ...tokens, ids: tokens.ids.map((id) => id + 1) }]),
  ],
  [
    "text that isn't the tokens'",
    "text",
    () => tampering((tokens) => [{ ...tokens, text: `${tokens.text}!` }]),
  ],
  [
    "an end that comes twice",
    "one-outcome",
    () => ({
      tamper: (response) =>
        response.event.case === "finished" ? [response, response] : [response],
    }),
  ],
  [
    "a stream that ends without its last event",
    "one-outcome",
    () => ({ tamper: (response) => (response.event.case === "finished" ? [] : [response]) }),
  ],
  ["an edge that admits more than it has slots", "slots", () => ({ extraSlots: 2 })],
  ["a gateway that ignores policies", "residency", () => ({ dropsPolicy: true })],
  ["gateways that don't say where a request has been", "loop", () => ({ forgetsWay: true })],
  ["slots that are never given back", "drained", () => ({ keepsSlots: true })],
];

for (const [what, rule, plant] of bugs) {
  test(`the audit objects to ${what}`, async (t) => {
    const { mesh } = await runAudit(size, plant());
    t.true(mesh.auditor.counts.has(rule), [...mesh.auditor.counts.keys()].join(", "));
  });
}

test("without a planted bug the same mesh is clean", async (t) => {
  const { mesh } = await runAudit(size);
  t.deepEqual(mesh.auditor.violations, []);
});
