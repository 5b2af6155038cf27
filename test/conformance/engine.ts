// What every Engine must do, run against each implementation. A check takes an engine that serves
// some version, with `slots` sequences of `contextSize` tokens, and a decoder of its vocabulary.
import type { SerialFn } from "ava";
import type { Engine, GenerateEvent, GenerateJob } from "../../edge-node/engine/engine.ts";
import { Fault } from "../../proto/fault.ts";
import { eventually } from "../support/eventually.ts";

export interface EngineUnderTest {
  readonly engine: Engine;
  /** The text that ids of the engine's vocabulary stand for. */
  decode(ids: readonly number[]): string;
  /** Largest distance from the argmax that numerical noise explains. */
  readonly gapMax: number;
}

export type Finished = Extract<GenerateEvent, { kind: "finished" }>;
export type Started = Extract<GenerateEvent, { kind: "started" }>;

export interface Told {
  readonly started: Started;
  readonly ids: number[];
  /** Text of all events, in order. */
  readonly text: string;
  /** Length of the text after each id, counted from this job's first. */
  readonly lengths: number[];
  readonly finished: Finished;
}

export const live = new AbortController().signal;

/** A greedy job of 24 tokens; tests change what they are about. */
export function greedyJob(changes: Partial<GenerateJob> = {}): GenerateJob {
  return {
    prompt: { kind: "text", text: "Tell me a story, please" },
    resume: null,
    maxTokens: 24,
    temperature: 0,
    topP: 1,
    topK: 0,
    minP: 0,
    seed: 1,
    repeatPenalty: null,
    stop: [],
    constraint: null,
    topLogprobs: null,
    version: "",
    priority: "interactive",
    ...changes,
  };
}

/** Runs a job to its end and checks that its events are in order and without gaps. */
export async function tell(engine: Engine, job: GenerateJob, signal = live): Promise<Told> {
  let started: Started | null = null;
  let finished: Finished | null = null;
  const ids: number[] = [];
  const lengths: number[] = [];
  let text = "";
  const first = job.resume?.tokens.length ?? 0;
  await engine.generate(
    job,
    (event) => {
      if (finished !== null) throw new Error("an event after finished");
      if (event.kind === "started") {
        if (started !== null) throw new Error("started twice");
        started = event;
        return;
      }
      if (started === null) throw new Error("an event before started");
      text += event.text;
      if (event.kind === "finished") {
        finished = event;
        return;
      }
      if (event.index !== first + ids.length) throw new Error("a gap between the ids");
      for (const id of event.ids) {
        ids.push(id);
        lengths.push(text.length);
      }
    },
    signal,
  );
  if (started === null || finished === null) throw new Error("the events are not complete");
  return { started, ids, text, lengths, finished };
}

export async function faultOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (problem) {
    if (problem instanceof Fault) return problem.code;
    throw problem;
  }
  return "none";
}

/** The checks share one engine, the last ones close it: hence one after the other. */
export function engineConformance(test: SerialFn, name: string, use: () => EngineUnderTest): void {
  const claim = (title: string) => `${name}: ${title}`;

  test(claim("the text is what its ids stand for, and the counts agree"), async (t) => {
    const { engine, decode } = use();
    const job = greedyJob();
    const told = await tell(engine, job);
    t.is(told.ids.length, 24);
    t.is(told.text, decode(told.ids));
    t.is(told.finished.reason, "length");
    t.is(told.finished.completionTokens, 24);
    t.is(told.finished.promptTokens, await engine.countTokens(job.prompt));
    t.is(told.started.promptTokens, told.finished.promptTokens);
  });

  test(claim("a greedy job repeats itself"), async (t) => {
    const { engine } = use();
    const [one, two] = [await tell(engine, greedyJob()), await tell(engine, greedyJob())];
    t.deepEqual(one.ids, two.ids);
  });

  test(claim("a completion resumed after any token loses, doubles and cuts nothing"), async (t) => {
    const { engine, decode, gapMax } = use();
    const job = greedyJob();
    const whole = await tell(engine, job);
    for (let cut = 1; cut < whole.ids.length; cut++) {
      const tokens = whole.ids.slice(0, cut);
      const textLength = whole.lengths[cut - 1]!;
      const rest = await tell(engine, { ...job, resume: { tokens, textLength } });
      const ids = [...tokens, ...rest.ids];
      t.is(whole.text.slice(0, textLength) + rest.text, decode(ids), `cut after ${cut}`);
      t.is(rest.finished.completionTokens, whole.ids.length);
      for (const { gap } of await engine.score(job.prompt, ids, live)) t.true(gap <= gapMax);
    }
  });

  test(claim("a stop sequence ends the text before it, wherever the stream is cut"), async (t) => {
    const { engine } = use();
    const whole = await tell(engine, greedyJob());
    // Over several tokens, from the middle: every cut inside of it must be right as well.
    const from = whole.lengths[9]!;
    const stop = [whole.text.slice(from, from + 6), "\u0000never"];
    const job = greedyJob({ stop });
    const stopped = await tell(engine, job);
    t.is(stopped.finished.reason, "stop");
    t.is(stopped.finished.stopSequence, stop[0]!);
    t.is(stopped.text, whole.text.slice(0, whole.text.indexOf(stop[0]!)));
    for (let cut = 1; cut < stopped.ids.length; cut++) {
      const resume = { tokens: stopped.ids.slice(0, cut), textLength: stopped.lengths[cut - 1]! };
      const rest = await tell(engine, { ...job, resume });
      t.is(stopped.text.slice(0, resume.textLength) + rest.text, stopped.text, `cut ${cut}`);
      t.is(rest.finished.stopSequence, stop[0]!);
    }
  });

  test(claim("ids that already finish the completion bring nothing but its end"), async (t) => {
    const { engine } = use();
    const whole = await tell(engine, greedyJob());
    const resume = { tokens: whole.ids, textLength: whole.text.length };
    const rest = await tell(engine, greedyJob({ resume }));
    t.deepEqual(rest.ids, []);
    t.is(rest.text, "");
    t.is(rest.finished.reason, "length");
    t.is(rest.finished.completionTokens, whole.ids.length);
  });

  test(claim("text that the caller lacks at the cut is told first"), async (t) => {
    const { engine } = use();
    const whole = await tell(engine, greedyJob());
    const resume = { tokens: whole.ids.slice(0, 12), textLength: 2 };
    const rest = await tell(engine, greedyJob({ resume }));
    t.true((whole.text.slice(0, 2) + rest.text).startsWith(whole.text.slice(0, whole.lengths[11])));
  });

  test(claim("sampling repeats with its seed and position"), async (t) => {
    const { engine } = use();
    const job = greedyJob({ temperature: 1.5, seed: 42 });
    const [one, two] = [await tell(engine, job), await tell(engine, job)];
    t.deepEqual(one.ids, two.ids);
    const resume = { tokens: one.ids.slice(0, 5), textLength: one.lengths[4]! };
    const rest = await tell(engine, { ...job, resume });
    t.deepEqual(rest.ids, (await tell(engine, { ...job, resume })).ids);
  });

  test(claim("probabilities come when asked for, and only then"), async (t) => {
    const { engine } = use();
    const seen: unknown[] = [];
    const take = (event: GenerateEvent) => {
      if (event.kind === "tokens") seen.push(event.logprobs);
    };
    await engine.generate(greedyJob({ maxTokens: 2 }), take, live);
    t.deepEqual(seen.splice(0), [null, null]);
    await engine.generate(greedyJob({ maxTokens: 1, topLogprobs: 1 }), take, live);
    const [logprobs] = seen as { id: number; logprob: number; top: { id: number }[] }[][];
    t.is(logprobs?.length, 1);
    t.true(logprobs![0]!.logprob <= 0);
    t.is(logprobs![0]!.top[0]!.id, logprobs![0]!.id);
  });

  test(claim("an abort rejects at once and frees the sequence"), async (t) => {
    const { engine } = use();
    const abort = new AbortController();
    let events = 0;
    const running = engine.generate(
      greedyJob({ maxTokens: 0 }),
      () => {
        if (++events === 3) abort.abort();
      },
      abort.signal,
    );
    t.is(await faultOf(running), "cancelled");
    t.is(events, 3);
    await eventually("the slots are free", () => engine.stats().active === 0);
    t.is(engine.stats().freeSlots, engine.info.slots);
    t.is((await tell(engine, greedyJob())).ids.length, 24);
  });

  test(claim("more jobs than slots wait; more than a full queue are refused"), async (t) => {
    const { engine } = use();
    const abort = new AbortController();
    const most = 2 * engine.info.slots;
    const jobs = Array.from({ length: most }, () =>
      faultOf(engine.generate(greedyJob({ maxTokens: 0 }), () => {}, abort.signal)),
    );
    t.is(await faultOf(engine.generate(greedyJob(), () => {}, live)), "overloaded");
    abort.abort();
    t.deepEqual(new Set(await Promise.all(jobs)), new Set(["cancelled"]));
    const all = Array.from({ length: most }, () => tell(engine, greedyJob()));
    for (const told of await Promise.all(all)) t.is(told.ids.length, 24);
  });

  test(
    claim("what doesn't fit the context is refused, what fills it ends with length"),
    async (t) => {
      const { engine } = use();
      const { contextSize } = engine.info;
      const [first] = await engine.tokenize({ kind: "text", text: "a" });
      const tokens = Array.from({ length: contextSize }, () => first!);
      const long = greedyJob({ prompt: { kind: "tokens", tokens } });
      t.is(await faultOf(engine.generate(long, () => {}, live)), "context-length-exceeded");
      const text = "x".repeat(contextSize * 1000);
      const longer = greedyJob({ prompt: { kind: "text", text } });
      t.is(await faultOf(engine.generate(longer, () => {}, live)), "context-length-exceeded");
      const prompt = { kind: "tokens", tokens: tokens.slice(0, contextSize - 3) } as const;
      const full = await tell(engine, greedyJob({ prompt, maxTokens: 0 }));
      t.is(full.finished.reason, "length");
      t.is(full.ids.length, 3);
    },
  );

  test(claim("wrong arguments are refused by name"), async (t) => {
    const { engine } = use();
    const wrong: Partial<GenerateJob>[] = [
      { temperature: Number.NaN },
      { temperature: -1 },
      { topP: 2 },
      { topK: 0.5 },
      { maxTokens: -1 },
      { stop: [""] },
      { stop: Array.from({ length: 17 }, () => "x") },
      { seed: 2 ** 32 },
      { topLogprobs: 21 },
      { prompt: { kind: "text", text: "" }, version: "" },
      { prompt: { kind: "tokens", tokens: [] } },
      { prompt: { kind: "tokens", tokens: [2 ** 31] } },
      { prompt: { kind: "tokens", tokens: [-1] } },
      { prompt: { kind: "chat", messages: [] } },
      { resume: { tokens: [0.5], textLength: 0 } },
      { resume: { tokens: [2 ** 30], textLength: 0 } },
      { resume: { tokens: [], textLength: -1 } },
    ];
    for (const changes of wrong) {
      // The empty prompt is fine where the tokenizer adds a beginning of its own.
      if (changes.version === "" && (await faultOf(engine.tokenize(changes.prompt!))) === "none") {
        continue;
      }
      const fault = await faultOf(engine.generate(greedyJob(changes), () => {}, live));
      t.is(fault, "invalid-argument", JSON.stringify(changes));
    }
  });

  test(claim("scores are zero for the argmax and positive for another token"), async (t) => {
    const { engine, gapMax } = use();
    const job = greedyJob({ maxTokens: 8 });
    const { ids } = await tell(engine, job);
    const scores = await engine.score(job.prompt, ids, live);
    t.is(scores.length, 8);
    for (const [at, { gap, argmax }] of scores.entries()) {
      t.true(gap <= gapMax);
      if (gap === 0) t.is(argmax, ids[at]!);
    }
    const other = ids.map((id) => (id === 65 ? 66 : 65));
    const [wrong] = await engine.score(job.prompt, other.slice(0, 1), live);
    t.is(wrong!.argmax, ids[0]!);
    t.true(wrong!.gap > gapMax);
    t.deepEqual(await engine.score(job.prompt, [], live), []);
  });

  test(claim("chat prompts keep what each role says apart"), async (t) => {
    const { engine } = use();
    const user = { role: "user", content: "hello" } as const;
    const system = { role: "system", content: "hello" } as const;
    const one = await engine.tokenize({ kind: "chat", messages: [user] });
    const two = await engine.tokenize({ kind: "chat", messages: [system] });
    t.notDeepEqual(one, two);
    t.is(await engine.countTokens({ kind: "chat", messages: [user] }), one.length);
  });

  test(claim("embeddings are unit vectors that repeat and tell texts apart"), async (t) => {
    const { engine } = use();
    const { vectors, tokens } = await engine.embed(["one text", "another", "one text"], live);
    t.true(tokens > 0);
    for (const vector of vectors) {
      t.is(vector.length, engine.info.embeddingSize);
      t.true(Math.abs(Math.hypot(...vector) - 1) < 1e-3);
    }
    t.deepEqual(vectors[0], vectors[2]);
    t.notDeepEqual(vectors[0], vectors[1]);
    t.is(await faultOf(engine.embed([""], live)), "invalid-argument");
    const long = "long ".repeat(engine.info.contextSize * 40);
    t.is(await faultOf(engine.embed([long], live)), "context-length-exceeded");
  });

  test(claim("a version switch leaves running streams alone"), async (t) => {
    const { engine } = use();
    const old = engine.versions().find((version) => version.active)!.id;
    await engine.openVersion({ id: "next", adapters: [] });
    t.is(await faultOf(engine.openVersion({ id: "next", adapters: [] })), "conflict");
    let closed: Promise<void> | null = null;
    let order = "";
    let ids = 0;
    await engine.generate(
      greedyJob({ maxTokens: 40 }),
      (event) => {
        if (event.kind === "finished") order += "finished ";
        if (event.kind !== "tokens") return;
        ids += event.ids.length;
        if (ids !== 5) return;
        closed = engine
          .activateVersion("next")
          .then(() => engine.closeVersion(old))
          .then(() => {
            order += "closed";
          });
      },
      live,
    );
    t.is(ids, 40);
    await closed;
    t.is(order, "finished closed");
    t.is((await tell(engine, greedyJob())).started.version, "next");
    t.is(await faultOf(engine.generate(greedyJob({ version: old }), () => {}, live)), "not-found");
    t.is(await faultOf(engine.closeVersion("next")), "conflict");
    t.is(await faultOf(engine.activateVersion("nowhere")), "not-found");
    t.deepEqual(
      engine.versions().map(({ id, active }) => ({ id, active })),
      [{ id: "next", active: true }],
    );
  });

  test(claim("a closed engine says so and takes nothing"), async (t) => {
    const { engine } = use();
    const states: string[] = [];
    engine.onState((state) => states.push(state));
    const running = faultOf(engine.generate(greedyJob({ maxTokens: 0 }), () => {}, live));
    await engine.close();
    t.is(await running, "draining");
    t.deepEqual(states, ["closed"]);
    t.is(engine.state, "closed");
    t.is(await faultOf(engine.generate(greedyJob(), () => {}, live)), "draining");
  });
}
