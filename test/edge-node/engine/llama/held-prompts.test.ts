// Which prompts a real engine says that it holds the state of.
import test from "ava";
import {
  createLlamaEngine,
  type LlamaEngine,
} from "../../../../edge-node/engine/llama/llama-engine.ts";
import { greedyJob, live, tell } from "../../../conformance/engine.ts";
import { randomModel } from "../../../models/tiny-model.ts";
import { eventually } from "../../../support/eventually.ts";

const LENGTH = 40;
let engine: LlamaEngine;

test.before(async () => {
  const modelPath = await randomModel({ seed: 3 });
  engine = await createLlamaEngine({ modelPath, slots: 2, contextSize: 512, threads: 1 });
});

test.after.always(async () => {
  await engine?.close();
});

function promptOf(seed: number) {
  const tokens = Array.from({ length: LENGTH }, (_, at) => 33 + ((at * 31 + seed * 17) % 90));
  return { kind: "tokens", tokens } as const;
}

const labelled = (label: string, seed: number) =>
  tell(engine, greedyJob({ prompt: promptOf(seed), maxTokens: 3, label }));

const holds = (...labels: string[]) =>
  eventually(`it holds ${labels}`, () => {
    const held = engine.stats().held.map(({ label }) => label);
    return held.sort().join() === [...labels].sort().join();
  });

test.serial("it holds the labelled prompts that its sequences read last, whole", async (t) => {
  await labelled("a", 1);
  await holds("a");
  await labelled("b", 2);
  await holds("a", "b");
  await eventually("all of both is told", () => {
    return engine.stats().held.every(({ tokens }) => tokens >= LENGTH);
  });
  t.true(engine.stats().held.every(({ version }) => version === "base"));
});

test.serial(
  "a prompt that takes a sequence takes its place, with a label or without",
  async (t) => {
    await labelled("c", 3);
    await holds("b", "c");
    await tell(engine, greedyJob({ prompt: promptOf(4), maxTokens: 3 }));
    await holds("c");
    await engine.score(promptOf(5), [40, 41], live);
    await holds();
    t.pass();
  },
);

test.serial("one that was left half-way is held as far as it was read", async (t) => {
  const tokens = Array.from({ length: 480 }, (_, at) => 33 + ((at * 7) % 90));
  const abort = new AbortController();
  const asked = greedyJob({ prompt: { kind: "tokens", tokens }, maxTokens: 3, label: "long" });
  const left = engine.generate(asked, () => abort.abort(), abort.signal);
  await t.throwsAsync(left);
  await holds("long");
  await eventually("the sequence is free", () => engine.stats().active === 0);
  t.true(engine.stats().held[0]!.tokens < tokens.length);
});

test.serial("a process that is gone holds nothing", async (t) => {
  await labelled("d", 6);
  process.kill(engine.pid, "SIGKILL");
  await eventually("it is ready again", () => {
    return engine.stats().restarts === 1 && engine.state === "ready";
  });
  t.deepEqual(engine.stats().held, []);
});
