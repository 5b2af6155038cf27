// The scripted engine against the suite that every engine passes, and what is its own.
import test from "ava";
import { engineConformance, faultOf, greedyJob, live, tell } from "../../conformance/engine.ts";
import { ScriptedEngine } from "./scripted-engine.ts";

const shared = new ScriptedEngine({ slots: 4, contextSize: 512 });
const decode = (ids: readonly number[]) => Buffer.from(ids).toString("utf8");
engineConformance(test.serial, "scripted", () => ({ engine: shared, decode, gapMax: 0 }));

test("a scripted reply is told byte by byte and ends with stop", async (t) => {
  const engine = new ScriptedEngine({ reply: (prompt) => `${prompt}! 😀` });
  const told = await tell(engine, greedyJob({ prompt: { kind: "text", text: "hi" } }));
  t.is(told.text, "hi! 😀");
  t.is(told.finished.reason, "stop");
});

test("a manual engine moves only when stepped", async (t) => {
  const engine = new ScriptedEngine({ manual: true });
  const kinds: string[] = [];
  const running = engine.generate(
    greedyJob({ maxTokens: 2 }),
    (event) => kinds.push(event.kind),
    live,
  );
  t.deepEqual(kinds, []);
  engine.step();
  t.deepEqual(kinds, ["started"]);
  engine.step(2);
  t.deepEqual(kinds, ["started", "tokens", "tokens", "finished"]);
  await running;
});

test("a crash rejects what runs, and recovery serves again", async (t) => {
  const engine = new ScriptedEngine({ manual: true });
  const states: string[] = [];
  engine.onState((state) => states.push(state));
  const running = faultOf(engine.generate(greedyJob(), () => {}, live));
  engine.crash();
  t.is(await running, "engine-crashed");
  t.is(await faultOf(engine.generate(greedyJob(), () => {}, live)), "unavailable");
  engine.recover();
  t.deepEqual(states, ["loading", "ready"]);
});
