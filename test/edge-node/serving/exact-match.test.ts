// Evaluation by asking: exact means exact, and a busy engine only makes it slower.
import test from "ava";
import { countExact } from "../../../edge-node/serving/exact-match.ts";
import { Fault } from "../../../proto/fault.ts";
import { systemClock } from "../../../runtime/clock.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { serveScript } from "./served-script.ts";

const answers: Record<string, string> = { one: "eins", two: "zwei", three: "drei" };
const reply = (prompt: string) => answers[/user: (\w+)/.exec(prompt)?.[1] ?? ""] ?? "?";
const questions = [
  { prompt: "one", completion: "eins" },
  { prompt: "two", completion: "zwo" },
  { prompt: "three", completion: "drei" },
  { prompt: "one", completion: "einst" },
  { prompt: "one", completion: "ein" },
];
const options = { model: "m", version: "m@1", width: 2, clock: systemClock };

test("only completions that equal the expected text count", async (t) => {
  const { admitted } = serveScript({ reply });
  const { signal } = new AbortController();
  t.is(await countExact(questions, { ...options, backend: admitted, signal }), 2);
  t.is(admitted.inFlight, 0);
});

test("a refusal that passes is tried again; one that stays is a fault", async (t) => {
  const { engines } = serveScript({ reply });
  const clock = new ManualClock();
  let refusals = 3;
  const backend: Pick<typeof engines, "generate"> = {
    generate: async (...call) => {
      if (refusals-- > 0) throw new Fault("overloaded", "full", { retryAfterMs: 500 });
      await engines.generate(...call);
    },
  };
  const { signal } = new AbortController();
  const counting = countExact(questions.slice(0, 1), { ...options, clock, backend, signal });
  await clock.advanceAsync(1, 1);
  await clock.advanceAsync(1400, 100);
  t.is(refusals, 0, "not sooner than it was told to come back");
  await clock.advanceAsync(200, 50);
  t.is(await counting, 1);
  const other = { ...options, model: "absent", backend: engines, signal, clock };
  const asked = countExact(questions, { ...other, version: "" });
  await t.throwsAsync(Promise.race([asked, clock.advanceAsync(200_000, 2000).then(() => asked)]), {
    instanceOf: Fault,
    message: /not served/,
  });
});

test("an abort ends the evaluation", async (t) => {
  const { admitted } = serveScript({ manual: true });
  const abort = new AbortController();
  const counting = countExact(questions, { ...options, backend: admitted, signal: abort.signal });
  await Promise.resolve();
  abort.abort();
  t.like(await t.throwsAsync(counting, { instanceOf: Fault }), { code: "cancelled" });
  t.is(admitted.inFlight, 0);
});
