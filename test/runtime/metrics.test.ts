// Metrics of one process.
import test from "ava";
import { createMetrics } from "../../runtime/metrics.ts";

test("a metric asked for twice is one, and carries the labels of the process", async (t) => {
  const metrics = createMetrics({ role: "edge", region: "eu" });
  const spec = { name: "isthmus_things_total", help: "Things.", labels: ["kind"] } as const;
  metrics.counter<"kind">(spec).inc({ kind: "a" });
  metrics.counter<"kind">(spec).inc({ kind: "a" });
  const text = await metrics.text();
  t.regex(text, /^isthmus_things_total\{kind="a",role="edge",region="eu"\} 2$/m);
  t.regex(text, /^process_resident_memory_bytes\{/m);
});

test("the metrics of two processes in one test don't mix", async (t) => {
  const [one, two] = [createMetrics({ role: "a" }), createMetrics({ role: "b" })];
  one.gauge({ name: "isthmus_level", help: "Level." }).set(3);
  t.notRegex(await two.text(), /isthmus_level/);
});
