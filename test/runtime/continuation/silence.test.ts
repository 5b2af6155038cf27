// When a silent source is asked, and what its answers are worth.
import test from "ava";
import { Fault } from "../../../proto/fault.ts";
import type { SourceHints } from "../../../runtime/continuation/candidate.ts";
import {
  beginSilence,
  defaultSilenceBounds as bounds,
  breakSilence,
  judgeAnswer,
  type Silence,
  type SilenceVerdict,
  tickSilence,
} from "../../../runtime/continuation/silence.ts";
import type { Answer } from "../../../runtime/inference/inquiry.ts";

/** Ticks until something happens, and what. */
function untilVerdict(silence: Silence, ticksMax = 1000): [number, SilenceVerdict] {
  for (let n = 1; n <= ticksMax; n += 1) {
    const verdict = tickSilence(silence, bounds);
    if (verdict !== "fine") return [n * bounds.tickMs, verdict];
  }
  throw new Error("nothing happened");
}

function spoken(hints: SourceHints): Silence {
  const silence = beginSilence(hints, bounds);
  breakSilence(silence, bounds);
  return silence;
}

function codeAfter(silence: Silence, answer: Answer): string {
  const verdict = judgeAnswer(silence, answer, bounds);
  return verdict instanceof Fault ? verdict.code : verdict;
}

test("a source is asked after four times its p99 and at least a second, within one tick", (t) => {
  t.deepEqual(untilVerdict(spoken({ interTokenP99Ms: 20 })), [1250, "ask"]);
  t.deepEqual(untilVerdict(spoken({})), [1250, "ask"]);
  t.deepEqual(untilVerdict(spoken({ interTokenP99Ms: 500 })), [2250, "ask"]);
  const talking = spoken({ interTokenP99Ms: 20 });
  for (let n = 0; n < 40; n += 1) {
    for (let k = 0; k < 4; k += 1) t.is(tickSilence(talking, bounds), "fine");
    breakSilence(talking, bounds);
  }
});

test("before the first token it has twice what was predicted, and a second", (t) => {
  t.deepEqual(untilVerdict(beginSilence({ predictedTtftMs: 3000 }, bounds)), [7250, "ask"]);
  t.deepEqual(untilVerdict(beginSilence({}, bounds)), [1250, "ask"]);
});

test("without an answer it is given up half a second later", (t) => {
  const silence = spoken({ interTokenP99Ms: 20 });
  untilVerdict(silence);
  const [afterMs, verdict] = untilVerdict(silence);
  t.is(afterMs, bounds.answerMaxMs);
  t.is(verdict instanceof Fault ? verdict.code : "", "link-lost");
  t.true(1250 + afterMs < 2000, "a dead source is left within two seconds");
});

test("each answer is worth what it says of the worker", (t) => {
  const cases: [SourceHints, Answer, string][] = [
    [{ interTokenP99Ms: 20 }, null, "link-lost"],
    [{ interTokenP99Ms: 20 }, { phase: "generating", silentMs: 30 }, "fine"],
    [{ interTokenP99Ms: 20 }, { phase: "generating", silentMs: 1200 }, "engine-crashed"],
    [{ interTokenP99Ms: 20 }, { phase: "waiting", silentMs: 60_000 }, "fine"],
    [{ interTokenP99Ms: 800 }, { phase: "generating", silentMs: 1200 }, "fine"],
    [{}, { phase: "generating", silentMs: 1200 }, "fine"],
    [{}, { phase: "generating", silentMs: 1400 }, "engine-crashed"],
    [{}, { phase: "reading", silentMs: 9000 }, "fine"],
    [{}, { phase: "reading", silentMs: 10_000 }, "engine-crashed"],
    [{ predictedTtftMs: 100 }, { phase: "reading", silentMs: 900 }, "fine"],
    [{ predictedTtftMs: 100 }, { phase: "reading", silentMs: 1000 }, "engine-crashed"],
    [{ predictedTtftMs: 4000 }, { phase: "reading", silentMs: 4000 }, "fine"],
  ];
  for (const [hints, answer, expected] of cases) {
    const silence = answer?.phase === "generating" ? spoken(hints) : beginSilence(hints, bounds);
    untilVerdict(silence);
    t.is(codeAfter(silence, answer), expected, JSON.stringify([hints, answer]));
  }
});

test("one that is at it is asked again and again, and believed up to a bound", (t) => {
  for (const phase of ["reading", "waiting", "generating"] as const) {
    const silence = phase === "generating" ? spoken({}) : beginSilence({}, bounds);
    untilVerdict(silence);
    let verdict = judgeAnswer(silence, { phase, silentMs: 0 }, bounds);
    while (verdict === "fine") {
      const [afterMs] = untilVerdict(silence);
      t.is(afterMs, bounds.askAgainMs);
      verdict = judgeAnswer(silence, { phase, silentMs: 0 }, bounds);
    }
    t.is(verdict instanceof Fault ? verdict.code : "", "link-lost");
    const heldMs = silence.ticks * bounds.tickMs;
    const boundMs = phase === "generating" ? bounds.generatingMaxMs : bounds.queuedMaxMs;
    t.true(heldMs >= boundMs && heldMs <= boundMs + bounds.askAgainMs, `${phase}: ${heldMs}`);
  }
});

test("an answer that comes after a token changes nothing", (t) => {
  const silence = spoken({});
  untilVerdict(silence);
  breakSilence(silence, bounds);
  t.is(codeAfter(silence, null), "fine");
  t.deepEqual(untilVerdict(silence), [1250, "ask"]);
});
