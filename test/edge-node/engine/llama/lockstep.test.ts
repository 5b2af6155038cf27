// The scheduler alone, over runs that record what happens to them.
import test from "ava";
import { Lockstep, type LockstepRun } from "../../../../edge-node/engine/llama/lockstep.ts";

/** A run that reads `wanted` tokens and then generates `length`, each step on its own promise. */
class RecordingRun implements LockstepRun {
  over = false;
  readonly name: string;
  sequence = 0;
  readonly #log: string[];
  readonly #inStep: Set<string>;
  readonly #onStep: (run: RecordingRun) => void;
  wanted: number;
  left: number;

  constructor(
    name: string,
    sizes: { wanted: number; length: number },
    world: { log: string[]; inStep: Set<string> },
    onStep: (run: RecordingRun) => void = () => {},
  ) {
    this.name = name;
    this.wanted = sizes.wanted;
    this.left = sizes.length;
    this.#log = world.log;
    this.#inStep = world.inStep;
    this.#onStep = onStep;
  }

  async step(tokens: number): Promise<void> {
    if (this.#inStep.has(this.name)) this.#log.push(`${this.name} stepped twice`);
    this.#inStep.add(this.name);
    await new Promise((resolve) => setImmediate(resolve));
    this.#inStep.delete(this.name);
    this.wanted -= tokens;
    if (tokens === 0) this.left--;
    this.#log.push(tokens > 0 ? `${this.name} reads ${tokens}` : this.name);
    this.#onStep(this);
    if (this.wanted === 0 && this.left === 0) this.over = true;
  }

  fail(problem: unknown): void {
    this.over = true;
    this.#log.push(`${this.name} failed: ${String(problem)}`);
  }

  async leave(): Promise<void> {
    const others = this.#inStep.size === 0 ? "" : " within a step";
    this.#log.push(`${this.name} leaves${others}`);
  }
}

async function runAll(prepare: (lockstep: Lockstep, world: World) => void): Promise<string[]> {
  const world: World = { log: [], inStep: new Set() };
  const lockstep = new Lockstep({
    admit: async () => {},
    waiting: () => false,
    stepping: () => {},
    stepped: () => world.log.push("|"),
    left: () => {
      if (lockstep.active === 0) lockstep.close();
    },
  });
  prepare(lockstep, world);
  await lockstep.run();
  return world.log;
}

interface World {
  log: string[];
  inStep: Set<string>;
}

test("all streams get one token a step, and leave between steps", async (t) => {
  const log = await runAll((lockstep, world) => {
    lockstep.add(new RecordingRun("a", { wanted: 0, length: 3 }, world));
    lockstep.add(new RecordingRun("b", { wanted: 0, length: 1 }, world));
  });
  t.deepEqual(log, ["a", "b", "|", "b leaves", "a", "|", "a", "|", "a leaves"]);
});

test("runs step in the order of their sequences, whatever they do", async (t) => {
  const log = await runAll((lockstep, world) => {
    const add = (name: string, sequence: number, wanted: number) => {
      const run = new RecordingRun(name, { wanted, length: 1 }, world);
      run.sequence = sequence;
      lockstep.add(run);
    };
    add("last", 3, 0);
    add("reader", 1, 8);
    add("first", 0, 0);
  });
  t.deepEqual(log.slice(0, 4), ["first", "reader reads 8", "last", "|"]);
});

test("a run that joins within a step begins with the next one", async (t) => {
  const log = await runAll((lockstep, world) => {
    const join = (run: RecordingRun) => {
      if (run.left === 2) lockstep.add(new RecordingRun("b", { wanted: 0, length: 1 }, world));
    };
    lockstep.add(new RecordingRun("a", { wanted: 0, length: 3 }, world, join));
  });
  t.deepEqual(log, ["a", "|", "a", "b", "|", "b leaves", "a", "|", "a leaves"]);
});

test("a long prompt is read beside the streams, a share a step", async (t) => {
  const log = await runAll((lockstep, world) => {
    lockstep.add(new RecordingRun("a", { wanted: 0, length: 4 }, world));
    lockstep.add(new RecordingRun("b", { wanted: 150, length: 1 }, world));
  });
  t.deepEqual(log, [
    ...["a", "b reads 64", "|"],
    ...["a", "b reads 64", "|"],
    ...["a", "b reads 22", "|"],
    ...["a", "b", "|"],
    ...["a leaves", "b leaves"],
  ]);
});

test("a run that throws fails alone", async (t) => {
  const log = await runAll((lockstep, world) => {
    const explode = () => {
      throw new Error("broken");
    };
    lockstep.add(new RecordingRun("a", { wanted: 0, length: 2 }, world));
    lockstep.add(new RecordingRun("b", { wanted: 0, length: 2 }, world, explode));
  });
  t.true(log.includes("b failed: Error: broken"));
  t.is(log.filter((entry) => entry === "a").length, 2);
});
