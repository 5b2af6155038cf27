// Plans that can't hold together are refused by name, and what a plan leaves open fits the rest.
import test from "ava";
import { z } from "zod";
import { planRefusal, rulesOf } from "../../../../coordinator/rounds/plan/combination.ts";
import { planSections } from "../../../../coordinator/rounds/plan/plan-sections.ts";
import { serverOf } from "../../../../coordinator/rounds/plan/strategy-plan.ts";
import { serverDefaults, serverOptimizers } from "../../../../sync/strategy/server-optimizer.ts";
import { combineRules } from "../../../../sync/strategy/tier-verdict.ts";

const planOf = (sections: object) => z.strictObject(planSections).parse(sections);
const masked = { secureAggregation: true };
const noised = { noise: { clip: 1, multiplier: 1 } };

test("a plan that says nothing holds: robust, stacked, FedAvg at rate 1", (t) => {
  const plan = planOf({});
  t.is(planRefusal(plan), null);
  t.like(rulesOf(plan), { lora: "stack", combine: { combine: "robust", trimShare: 0.2 } });
  t.deepEqual(serverOf(plan.strategy, 1), serverDefaults.fedavg);
});

test("under masks and noise what is left open becomes sums", (t) => {
  for (const privacy of [masked, noised]) {
    const plan = planOf({ privacy });
    t.is(planRefusal(plan), null);
    t.like(rulesOf(plan), { lora: "average", combine: { combine: "mean" } });
  }
});

test("masks exclude every rule that looks at single deltas, and stacks", (t) => {
  for (const combine of combineRules) {
    const refusal = planRefusal(planOf({ privacy: masked, strategy: { combine } }));
    if (combine === "mean") t.is(refusal, null);
    else
      t.regex(refusal ?? "", new RegExp(`secure aggregation hides single deltas, so ${combine}`));
  }
  const stacked = planOf({ privacy: masked, strategy: { lora: "stack" } });
  t.regex(planRefusal(stacked) ?? "", /secure aggregation gives only sums/);
  t.is(planRefusal(planOf({ privacy: masked, strategy: { lora: "freeze-a" } })), null);
});

test("a clip that moves excludes masks and noise at the edges, which hide the norms", (t) => {
  const noise = { clip: 1, multiplier: 1, clipQuantile: 0.5 };
  t.is(planRefusal(planOf({ privacy: { noise } })), null);
  const atEdge = planOf({ privacy: { noise: { ...noise, at: "edge" } } });
  t.regex(
    planRefusal(atEdge) ?? "",
    /the edges' own noise hides them: add the noise at the center/,
  );
  const hidden = planOf({ privacy: { noise, secureAggregation: true } });
  t.regex(planRefusal(hidden) ?? "", /secure aggregation hides them/);
});

test("noise excludes rules and stacks whose sensitivity isn't the clip", (t) => {
  const median = planOf({ privacy: noised, strategy: { combine: "median" } });
  t.regex(planRefusal(median) ?? "", /noise is calibrated to the clipped mean, and median/);
  const stacked = planOf({ privacy: noised, strategy: { lora: "stack" } });
  t.regex(planRefusal(stacked) ?? "", /the product of a stack has no bounded sensitivity/);
});

test("numbers that the chosen optimizer never looks at are refused by name", (t) => {
  const looksAt = {
    fedavg: [],
    fedavgm: ["momentum"],
    fedadagrad: ["beta1", "tau"],
    fedadam: ["beta1", "beta2", "tau", "biasCorrection"],
    fedyogi: ["beta1", "beta2", "tau"],
    nesterov: ["momentum"],
  } as const;
  const numbers = { momentum: 0.5, beta1: 0.5, beta2: 0.5, tau: 0.5, biasCorrection: true };
  for (const server of serverOptimizers) {
    for (const [name, value] of Object.entries(numbers)) {
      const refusal = planRefusal(planOf({ strategy: { server, [name]: value } }));
      const isLookedAt = (looksAt[server] as readonly string[]).includes(name);
      if (isLookedAt) t.is(refusal, null, `${server} ${name}`);
      else t.regex(refusal ?? "", new RegExp(`^${server} has no `), `${server} ${name}`);
    }
  }
});

test("asynchronous rounds exclude masks and another goal", (t) => {
  const asynchronous = { buffer: 10 };
  t.is(planRefusal(planOf({ strategy: { asynchronous } })), null);
  const both = planOf({ strategy: { asynchronous }, privacy: masked });
  t.regex(planRefusal(both) ?? "", /masks need all of one round's edges/);
  const noisy = planOf({ strategy: { asynchronous }, privacy: noised });
  t.regex(planRefusal(noisy) ?? "", /central noise needs all to weigh alike/);
  const stacked = planOf({ strategy: { asynchronous, lora: "stack" } });
  t.regex(planRefusal(stacked) ?? "", /a stack gives each version factors of its own/);
  t.is(rulesOf(planOf({ strategy: { asynchronous } })).lora, "average");
  const two = planOf({ strategy: { asynchronous }, pace: { goal: 3 } });
  t.regex(planRefusal(two) ?? "", /a goal of 3 deltas and a buffer of 10/);
});

test("what an operator sets goes over an optimizer's own default", (t) => {
  const { strategy } = planOf({ strategy: { server: "fedyogi", tau: 0.5 } });
  t.deepEqual(serverOf(strategy, 1), { ...serverDefaults.fedyogi, tau: 0.5 });
});

test("unknown strategies and keys are errors", (t) => {
  t.throws(() => planOf({ strategy: { server: "adam" } }));
  t.throws(() => planOf({ strategy: { sever: "fedadam" } }));
});

test("a server's rate may be one for all rounds, or one for each", (t) => {
  const rates = (lr: number | number[]) => {
    const { strategy } = planOf({ strategy: { lr } });
    return [1, 2, 3, 9].map((round) => serverOf(strategy, round).learningRate);
  };
  t.deepEqual(rates(0.5), [0.5, 0.5, 0.5, 0.5]);
  t.deepEqual(rates([1.75, 1.25, 1]), [1.75, 1.25, 1, 1]);
  t.throws(() => rates([]));
  t.throws(() => rates([1, 0]));
});
