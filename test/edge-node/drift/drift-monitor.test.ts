// What an edge tells of its drift: nothing before it knows enough, then the score, and no input.
import { toJsonString } from "@bufbuild/protobuf";
import test, { type ExecutionContext } from "ava";
import { pino } from "pino";
import {
  DRIFT_REPEAT_MS,
  DriftMonitor,
  type TrainedOn,
} from "../../../edge-node/drift/drift-monitor.ts";
import { Fault } from "../../../proto/fault.ts";
import { DriftScoreSchema } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const bounds = { threshold: 0.25, inputs: 8, inputsMin: 4 };

/** A token a word, by its length. */
const byLength = async (_: string, text: string) => text.split(" ").map((word) => word.length);

interface Setting {
  readonly tokenize?: (model: string, text: string) => Promise<readonly number[]> | null;
  trained: TrainedOn | null;
}

function setUp(t: ExecutionContext, setting: Setting) {
  const clock = new ManualClock();
  const logged: string[] = [];
  const log = pino({ level: "trace" }, { write: (line: string) => void logged.push(line) });
  const monitor = new DriftMonitor({
    bounds,
    tokenize: setting.tokenize ?? byLength,
    trainedOn: () => setting.trained,
    ...{ clock, log },
  });
  t.teardown(() => monitor.stop());
  const ask = async (prompt: string, times: number) => {
    for (let i = 0; i < times; i++) monitor.note("m", prompt);
    await monitor.look();
  };
  return { clock, monitor, ask, logged };
}

const trainedOn = (revision: string, ...prompts: string[]): TrainedOn => ({
  revision,
  prompts: () => prompts,
});

test("a score is told with inputs enough, when it changes, and now and then", async (t) => {
  const { clock, monitor, ask } = setUp(t, { trained: trainedOn("1", "aa bbb") });
  await ask("aa bbb", 3);
  t.deepEqual(monitor.news(clock.monotonicMs()), []);
  await ask("aa bbb", 1);
  const [same] = monitor.news(clock.monotonicMs());
  t.like(same, { model: "m", score: 0, threshold: 0.25, inputs: 4 });
  t.deepEqual(monitor.news(clock.monotonicMs()), []);
  await ask("cccc", 8);
  t.like(monitor.news(clock.monotonicMs())[0], { score: 1, inputs: 8 });
  clock.advance(DRIFT_REPEAT_MS - 1);
  t.deepEqual(monitor.news(clock.monotonicMs()), []);
  clock.advance(1);
  t.like(monitor.news(clock.monotonicMs())[0], { score: 1 });
});

test("an edge that has trained on nothing has nothing to compare with", async (t) => {
  const { monitor, ask } = setUp(t, { trained: null });
  await ask("aa", 8);
  t.deepEqual(monitor.scores, []);
});

test("what a round has learned from counts as trained on from then on", async (t) => {
  const setting: Setting = { trained: trainedOn("1", "aa") };
  const { monitor, ask } = setUp(t, setting);
  await ask("cccc", 8);
  t.is(monitor.scores[0]?.score, 1);
  setting.trained = trainedOn("2", "aa", "cccc", "cccc", "cccc", "cccc", "cccc");
  await monitor.look();
  t.true(monitor.scores[0]!.score < 0.1);
});

test("a failing engine loses the inputs of the moment, and quotes none", async (t) => {
  let failing = true;
  const { monitor, ask, logged } = setUp(t, {
    trained: trainedOn("1", "aa"),
    tokenize: async (model, text) => {
      if (failing) throw new Error(`can't count ${text}`);
      return await byLength(model, text);
    },
  });
  await ask("a secret wish", 8);
  t.deepEqual(monitor.scores, []);
  failing = false;
  await ask("a secret wish", 8);
  t.is(monitor.scores.length, 1);
  t.is(logged.length, 1);
  t.notRegex(logged.join(""), /secret/);
  t.notRegex(toJsonString(DriftScoreSchema, monitor.scores[0]!), /secret/);
});

test("a text that the model can't be given is passed over, its neighbours are not", async (t) => {
  const { monitor, ask } = setUp(t, {
    trained: trainedOn("1", "aa", "impossible"),
    tokenize: async (model, text) => {
      if (text === "impossible") throw new Fault("context-length-exceeded", "too long");
      return await byLength(model, text);
    },
  });
  await ask("impossible", 1);
  await ask("aa", 4);
  t.like(monitor.scores[0], { score: 0, inputs: 5 });
});

test("a flood of inputs is sampled, not stored", async (t) => {
  let counted = 0;
  const { ask } = setUp(t, {
    trained: trainedOn("1", "aa"),
    tokenize: async (model, text) => {
      counted++;
      return await byLength(model, text);
    },
  });
  await ask("cccc", 100_000);
  t.true(counted <= 65, String(counted));
});
