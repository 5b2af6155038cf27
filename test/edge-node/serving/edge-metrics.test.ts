// What an edge shows to Prometheus: the state of the moment, and what came by trunk.
import test from "ava";
import { withEdgeGauges } from "../../../edge-node/serving/edge-metrics.ts";
import { metered } from "../../../edge-node/serving/metered-backend.ts";
import { systemClock } from "../../../runtime/clock.ts";
import { createCompletionMeter } from "../../../runtime/frontend/completion-meter.ts";
import { createMetrics } from "../../../runtime/metrics.ts";
import { eventually } from "../../support/eventually.ts";
import { complete, request, serveScript } from "./served-script.ts";

test("gauges follow the model: slots, load, version; and go with it", async (t) => {
  const { models, admitted, engine } = serveScript({ manual: true, slots: 1 });
  const metrics = withEdgeGauges(createMetrics({}), models, admitted);
  const value = async (line: string) => (await metrics.text()).includes(`${line}\n`);
  t.true(await value('isthmus_slots{model="m"} 1'));
  t.true(await value('isthmus_model_version{model="m",version="m@1"} 1'));
  t.true(await value('isthmus_engine_ready{model="m"} 1'));
  const running = complete(admitted);
  const waiting = complete(admitted);
  await eventually("one runs", () => engine.stats().active === 1);
  t.true(await value('isthmus_slots_active{model="m"} 1'));
  t.true(await value('isthmus_queue{model="m"} 1'));
  engine.step(10);
  await running;
  await eventually("the other runs", () => engine.stats().active === 1);
  engine.step(10);
  await waiting;
  engine.crash();
  t.true(await value('isthmus_engine_ready{model="m"} 0'));
  models.remove("m");
  t.notRegex(await metrics.text(), /model="m"/);
});

test("completions by trunk are counted with their tokens and how they ended", async (t) => {
  const { admitted } = serveScript();
  const metrics = createMetrics({});
  const backend = metered(admitted, createCompletionMeter("trunk", metrics, systemClock));
  await complete(backend, request({ maxTokens: 5 }));
  await t.throwsAsync(complete(backend, request({ model: "absent" })));
  const text = await metrics.text();
  t.regex(text, /isthmus_completion_tokens_total\{frontend="trunk"\} 5/);
  t.regex(text, /isthmus_completions_total\{frontend="trunk",outcome="ok"\} 1/);
  t.regex(text, /isthmus_completions_total\{frontend="trunk",outcome="model-absent"\} 1/);
  t.regex(text, /isthmus_ttft_seconds_count\{frontend="trunk"\} 1/);
  t.regex(text, /isthmus_completions_open\{frontend="trunk"\} 0/);
});
