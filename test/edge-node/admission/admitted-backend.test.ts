// The admission as requests meet it: tenants, deadlines, and a limit that follows what is measured.
import test from "ava";
import type { StreamSample } from "../../../edge-node/admission/admitted-backend.ts";
import { AdmittedBackend } from "../../../edge-node/admission/admitted-backend.ts";
import { Fault } from "../../../proto/fault.ts";
import { eventually } from "../../support/eventually.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { complete, context, request, serveScript } from "../serving/served-script.ts";

const slowAlone: StreamSample = { active: 1, tpotMs: 50, kvFree: 1 };
const slowTogether: StreamSample = { active: 4, tpotMs: 1000, kvFree: 1 };

test("the limit shrinks when streams slow each other, and grows back", async (t) => {
  const { admitted, engine } = serveScript({ manual: true, slots: 4, queueMax: 8 });
  const running = Array.from({ length: 6 }, () => complete(admitted, request({ maxTokens: 3 })));
  await eventually("four run", () => engine.stats().active === 4);
  t.like(admitted.loadOf("m"), { slots: 4, limit: 4, active: 4, queued: 2 });
  for (let k = 0; k < 5; k++) admitted.adapt(() => slowAlone);
  for (let k = 0; k < 5; k++) admitted.adapt(() => slowTogether);
  const { limit } = admitted.loadOf("m");
  t.true(limit < 4);
  engine.step(10);
  await eventually("the rest runs", () => engine.stats().active === 2);
  t.like(admitted.loadOf("m"), { active: 2, queued: 0 });
  engine.step(10);
  await Promise.all(running);
  const more = Array.from({ length: 6 }, () => complete(admitted, request({ maxTokens: 3 })));
  await eventually("as many run as the limit lets", () => engine.stats().active === limit);
  for (let k = 0; k < 300 && admitted.loadOf("m").limit < 4; k++) {
    admitted.adapt(() => ({ active: admitted.loadOf("m").limit, tpotMs: 50, kvFree: 1 }));
  }
  await eventually("four run again", () => engine.stats().active === 4);
  for (let k = 0; k < 4; k++) {
    engine.step(10);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await Promise.all(more);
  t.like(admitted.loadOf("m"), { limit: 4, active: 0, queued: 0 });
});

test("the queue knows whose request it is", async (t) => {
  const { admitted, engine } = serveScript({ manual: true, slots: 1, queueMax: 2 });
  const ask = (tenant: string) => complete(admitted, request({ maxTokens: 1, tenant }));
  const running = ask("noisy");
  await eventually("it runs", () => engine.stats().active === 1);
  const noisy = [ask("noisy"), ask("noisy")];
  const quiet = ask("quiet");
  const displaced = await t.throwsAsync(noisy[1]!, { instanceOf: Fault });
  t.like(displaced, { code: "overloaded", stage: "evicted" });
  for (let k = 0; k < 4; k++) {
    engine.step(5);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await Promise.all([running, noisy[0], quiet]);
  t.is(admitted.inFlight, 0);
});

test("requests that can't make their deadline are refused by their least time", async (t) => {
  const clock = new ManualClock();
  const { engines, models } = serveScript({ reply: () => "ok" });
  let asked = 0;
  const admitted = new AdmittedBackend({
    backend: engines,
    slotsOf: (model) => models.slotsOf(model),
    leastMsOf: () => {
      asked++;
      return 200;
    },
    queueMax: 4,
    clock,
  });
  await complete(admitted, request());
  t.is(asked, 0);
  await complete(admitted, request(), context({ deadlineMs: clock.now() + 200 }));
  const late = complete(admitted, request(), context({ deadlineMs: clock.now() + 199 }));
  t.like(await t.throwsAsync(late, { instanceOf: Fault }), { code: "overloaded" });
  t.is(asked, 2);
});
