// The law of continued streams, on the core alone: whatever the sources do, the caller's ids and
// text are a prefix of the truth, and the whole of it when the stream finishes.
import test from "ava";
import fc from "fast-check";
import { Fault, type FaultCode } from "../../../proto/fault.ts";
import { advance, type StreamInput } from "../../../runtime/continuation/continuation-core.ts";
import { createStream, defaultBounds } from "../../../runtime/continuation/stream-state.ts";
import {
  Caller,
  eventsOf,
  promptRequest,
  type Script,
  started,
  type Truth,
  tokens,
  truthOf,
} from "./scripted-source.ts";

interface Run {
  readonly caller: Caller;
  readonly fault: Fault | null;
  readonly attempts: number;
  readonly waits: number;
}

/** Runs one stream over the scripts in order, then over sources that do their work. */
function run(truth: Truth, scripts: readonly Script[], nowhereAt: ReadonlySet<number>): Run {
  const good: Script = { start: "resume", batch: 1, batches: 0, end: "finish" };
  const state = createStream(promptRequest());
  const caller = new Caller();
  const queue: StreamInput[] = [{ kind: "begin" }];
  let picks = 0;
  let waits = 0;
  let fault: Fault | null | undefined;
  while (fault === undefined) {
    const input = queue.shift();
    if (input === undefined) throw new Error("the stream is stuck");
    for (const effect of advance(state, input)) {
      if (effect.kind === "emit") caller.onEvent(effect.event);
      if (effect.kind === "settle") fault = effect.fault;
      if (effect.kind === "wait") {
        waits += 1;
        queue.push({ kind: "waited" });
      }
      if (effect.kind === "pick") {
        picks += 1;
        const edge = `edge-${picks}`;
        if (nowhereAt.has(picks)) queue.push({ kind: "nowhere", fault: null });
        else queue.push({ kind: "picked", key: edge, edge });
      }
      if (effect.kind === "open") {
        const { attempt, request } = effect;
        const script = scripts[attempt - 1] ?? good;
        for (const event of eventsOf(truth, script, request, `edge-${picks}`)) {
          queue.push({ kind: "event", attempt, event });
        }
        queue.push(ending(script, attempt, `edge-${picks}`));
      }
    }
  }
  return { caller, fault, attempts: state.attempt, waits };
}

function ending({ end }: Script, attempt: number, key: string): StreamInput {
  if (end === "hang" || end === "gap") return { kind: "move-away", key, reason: "suspect" };
  if (end === "finish" || end === "early-finish" || end === "silent-end") {
    return { kind: "ended", attempt };
  }
  return { kind: "failed", attempt, fault: new Fault(end, "scripted") };
}

const retriable: FaultCode[] = ["link-lost", "overloaded", "engine-crashed", "draining"];
const scriptOf = (ends: readonly Script["end"][]): fc.Arbitrary<Script> =>
  fc.record({
    start: fc.oneof(
      fc.constant("resume" as const),
      fc.constant("rewind" as const),
      fc.record({ overlap: fc.integer({ min: 1, max: 5 }) }),
    ),
    batch: fc.integer({ min: 1, max: 4 }),
    batches: fc.integer({ min: 0, max: 6 }),
    end: fc.constantFrom(...ends),
  });
const truths = fc
  .tuple(
    fc.array(fc.constantFrom("a", "be", "", " 🙂", "é", "\n", "xyz"), { maxLength: 24 }),
    fc.integer({ min: 0, max: 5 }),
  )
  .map(([pieces, lag]) => truthOf(pieces, lag));

test("a stream over failing sources ends whole when fewer fail than the bound", (t) => {
  const ends: Script["end"][] = [...retriable, "silent-end", "gap", "hang", "finish"];
  const scripts = fc.array(scriptOf(ends), { maxLength: defaultBounds.fruitlessMax - 1 });
  const holes = fc.uniqueArray(fc.integer({ min: 2, max: 8 }), { maxLength: 3 });
  fc.assert(
    fc.property(truths, scripts, holes, (truth, script, nowhere) => {
      const { caller, fault, attempts } = run(truth, script, new Set(nowhere));
      // A new stream with nothing but full edges behind it is refused rather than kept waiting.
      if (fault !== null) {
        t.is(fault.code, "overloaded");
        t.is(caller.started, 0);
        return;
      }
      t.deepEqual(caller.trouble, []);
      t.deepEqual(caller.ids, truth.ids as number[]);
      t.is(caller.text, truth.text);
      t.is(caller.started, 1);
      t.true(attempts <= script.length + 1);
      const end = caller.finished;
      if (end?.case !== "finished") throw new Error("not finished");
      t.is(end.value.completionTokens, truth.ids.length);
      t.true(end.value.moves.every((move) => move.fromEdge !== move.toEdge));
    }),
    { seed: 20261120, numRuns: 3000 },
  );
});

test("what was delivered before a fault is always a prefix of the truth", (t) => {
  const ends: Script["end"][] = [...retriable, "gap", "invalid-argument", "internal", "hang"];
  fc.assert(
    fc.property(truths, fc.array(scriptOf(ends), { maxLength: 90 }), (truth, script) => {
      const { caller, fault, attempts } = run(truth, script, new Set());
      t.deepEqual(caller.trouble, []);
      t.deepEqual(caller.ids, truth.ids.slice(0, caller.ids.length));
      t.true(truth.text.startsWith(caller.text));
      t.is(fault === null, caller.finished !== null);
      t.true(attempts <= defaultBounds.attemptsMax);
    }),
    { seed: 7, numRuns: 2000 },
  );
});

test("a fault that another edge can't mend ends the stream at once", (t) => {
  const truth = truthOf(["a", "b", "c"], 0);
  const script: Script = { start: "resume", batch: 1, batches: 2, end: "context-length-exceeded" };
  const { fault, attempts, caller } = run(truth, [script], new Set());
  t.is(fault?.code, "context-length-exceeded");
  t.is(fault?.stage, "interrupted");
  t.is(attempts, 1);
  t.is(caller.finished, null);
});

test("a failure before anything was said is silent; after it the move is told once", (t) => {
  const truth = truthOf(["a", "b", "c"], 0);
  const early = { ...eventless("link-lost") };
  const state = createStream(promptRequest());
  advance(state, { kind: "begin" });
  advance(state, { kind: "picked", key: "us/a", edge: "a" });
  t.deepEqual(advance(state, { ...early, attempt: 1 }), [
    { kind: "pick", excluded: new Set(["us/a"]), isHedge: false },
  ]);
  t.true(state.excluded.has("us/a"));
  advance(state, { kind: "picked", key: "us/b", edge: "b" });
  t.is(state.departure, null);
  const dying: Script = { start: "resume", batch: 1, batches: 2, end: "engine-crashed" };
  const { caller } = run(truth, [dying], new Set());
  if (caller.finished?.case !== "finished") throw new Error("not finished");
  const [move, ...more] = caller.finished.value.moves;
  t.deepEqual(more, []);
  t.is(move?.atToken, 2);
  t.is(move?.fromEdge, "edge-1");
  t.is(move?.toEdge, "edge-2");
  t.is(move?.cause, "engine-crashed");
  t.is(caller.finished.value.promptTokens, 7);
});

test("the next source is told the ids, the text length and the version delivered", (t) => {
  const truth = truthOf(["ab", "c🙂", "d"], 1);
  const state = createStream(promptRequest());
  advance(state, { kind: "begin" });
  advance(state, { kind: "picked", key: "k", edge: "a" });
  const script: Script = { start: "resume", batch: 1, batches: 2, end: "link-lost" };
  for (const event of eventsOf(truth, script, state.request, "a")) {
    advance(state, { kind: "event", attempt: 1, event });
  }
  advance(state, { ...eventless("link-lost"), attempt: 1 });
  const [open] = advance(state, { kind: "picked", key: "l", edge: "b" });
  if (open?.kind !== "open") throw new Error("not opened");
  t.deepEqual(open.request.resume?.ids, [100, 101]);
  t.is(open.request.resume?.textLength, "abc🙂".length - 1);
  t.is(open.request.resume?.version, "m@1");
});

test("who resumes names the edge it left, and the next relay tries any other first", (t) => {
  const state = createStream(promptRequest());
  advance(state, { kind: "begin" });
  advance(state, { kind: "picked", key: "here", edge: "us-1", region: "us" });
  for (const event of [started("us-1"), tokens(0, [1], "x")]) {
    advance(state, { kind: "event", attempt: 1, event });
  }
  advance(state, { ...eventless("engine-crashed"), attempt: 1 });
  const [open] = advance(state, { kind: "picked", key: "region", edge: "" });
  if (open?.kind !== "open") throw new Error("not opened");
  t.is(open.request.resume?.left, "us/us-1");
  const relay = createStream(open.request);
  t.deepEqual(advance(relay, { kind: "begin" }), [
    { kind: "pick", excluded: new Set(["us/us-1"]), isHedge: false },
  ]);
  t.deepEqual(
    advance(relay, { kind: "nowhere", fault: null }),
    [{ kind: "pick", excluded: new Set(), isHedge: false }],
    "where there is no other, that one is better than none",
  );
  t.is(advance(relay, { kind: "nowhere", fault: null })[0]?.kind, "settle");
});

test("a stream that gets nowhere ends after a bounded number of sources", (t) => {
  const barren: Script = { start: "resume", batch: 1, batches: 0, end: "engine-crashed" };
  const scripts = Array.from({ length: 50 }, () => barren);
  const { fault, attempts } = run(truthOf(["a"], 0), scripts, new Set());
  t.is(fault?.code, "engine-crashed");
  t.is(attempts, defaultBounds.fruitlessMax);
});

test("a begun stream comes back to sources out of reach until it has waited enough", (t) => {
  const state = createStream(promptRequest());
  const cut = { kind: "failed", fault: new Fault("link-lost", "refused") } as const;
  advance(state, { kind: "begin" });
  advance(state, { kind: "picked", key: "a", edge: "a" });
  advance(state, { kind: "event", attempt: 1, event: started("a") });
  for (let attempt = 1; attempt <= defaultBounds.waitsMax; attempt += 1) {
    advance(state, { ...cut, attempt });
    t.is(advance(state, { kind: "nowhere", fault: null })[0]?.kind, "wait", `attempt ${attempt}`);
    advance(state, { kind: "waited" });
    advance(state, { kind: "picked", key: "a", edge: "a" });
  }
  advance(state, { ...cut, attempt: defaultBounds.waitsMax + 1 });
  t.is(advance(state, { kind: "nowhere", fault: null })[0]?.kind, "settle");
});

test("a stream that has begun waits long for a place; a new one is refused at once", (t) => {
  const state = createStream(promptRequest());
  const full = { kind: "failed", fault: new Fault("overloaded", "full") } as const;
  const nowhere = { kind: "nowhere", fault: null } as const;
  advance(state, { kind: "begin" });
  advance(state, { kind: "picked", key: "k", edge: "a" });
  const fresh = createStream(promptRequest());
  advance(fresh, { kind: "begin" });
  advance(fresh, { kind: "picked", key: "k", edge: "a" });
  advance(fresh, { ...full, attempt: 1 });
  t.deepEqual(
    advance(fresh, nowhere).map(({ kind }) => kind),
    ["settle"],
  );
  advance(state, { kind: "event", attempt: 1, event: started("a") });
  for (let attempt = 1; attempt <= defaultBounds.waitsMax; attempt += 1) {
    advance(state, { ...full, attempt });
    t.is(advance(state, nowhere)[0]?.kind, "wait", `attempt ${attempt}`);
    advance(state, { kind: "waited" });
    advance(state, { kind: "picked", key: "k", edge: "a" });
  }
  advance(state, { ...full, attempt: defaultBounds.waitsMax + 1 });
  const [end] = advance(state, nowhere);
  t.is(end?.kind === "settle" ? end.fault?.code : "", "overloaded");
});

test("a source that repeats what was delivered, but not all of it, is left", (t) => {
  const state = createStream(promptRequest());
  advance(state, { kind: "begin" });
  advance(state, { kind: "picked", key: "k", edge: "a" });
  const say = (attempt: number, index: number, ids: number[], text: string) =>
    advance(state, { kind: "event", attempt, event: tokens(index, ids, text) });
  for (let k = 0; k < 4; k += 1) say(1, k, [k], "x");
  advance(state, { ...eventless("link-lost"), attempt: 1 });
  advance(state, { kind: "picked", key: "l", edge: "b" });
  t.deepEqual(say(2, 0, [0], "x"), []);
  t.deepEqual(
    say(2, 2, [2], "x").map(({ kind }) => kind),
    ["abort", "pick"],
  );
  advance(state, { kind: "picked", key: "m", edge: "c" });
  t.deepEqual(
    say(3, 3, [9], "x").map(({ kind }) => kind),
    ["abort", "pick"],
    "other tokens than those delivered",
  );
});

test("words of a source that was left are ignored", (t) => {
  const state = createStream(promptRequest());
  advance(state, { kind: "begin" });
  advance(state, { kind: "picked", key: "k", edge: "a" });
  advance(state, { kind: "move-away", key: "k", reason: "suspect" });
  const [event] = eventsOf(
    truthOf(["a"], 0),
    { start: "resume", batch: 1, batches: 1, end: "hang" },
    state.request,
    "a",
  );
  t.deepEqual(advance(state, { kind: "event", attempt: 1, event: event! }), []);
  t.deepEqual(advance(state, { kind: "ended", attempt: 1 }), []);
});

function eventless(code: FaultCode) {
  return { kind: "failed", fault: new Fault(code, "scripted") } as const;
}
