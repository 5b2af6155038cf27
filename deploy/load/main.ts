// The load generator: callers in one region stream one answer after another through the SDK and
// through OpenAI's HTTP, and what each stream came to is printed as a line of JSON. Told to stop,
// it opens no more, lets what runs end, and prints that it is done.

import { type Clock, systemClock } from "../../runtime/clock.ts";
import { readConfig } from "../../runtime/config.ts";
import { seededRandom } from "../../sync/formats/seeded-random.ts";
import { type CallerOptions, callWithoutEnd, type OpenDoor, pause, sdkDoor } from "./callers.ts";
import { type LoadConfig, loadConfigSchema } from "./config.ts";
import { endLine, type LoadLine, startLine } from "./load-line.ts";
import { openAiDoor } from "./openai-door.ts";
import { longQuestions, type Question, questions } from "./question.ts";
import type { StreamLog } from "./stream-log.ts";

/** Until the mesh answers at all. */
const CONNECT_TRIES_MAX = 60;
const CONNECT_RETRY_MS = 1000;

/** Lines of several generators are compared, so their times are the machine's. */
const wallClock: Clock = {
  now: () => systemClock.now(),
  monotonicMs: () => systemClock.now(),
  after: (ms, callback) => systemClock.after(ms, callback),
  every: (ms, callback) => systemClock.every(ms, callback),
};

const config = readConfig(loadConfigSchema);
const stopping = new AbortController();
for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.on(signal, () => {
    if (stopping.signal.aborted) process.exit(1); // asked twice: at once
    state("stopping");
    stopping.abort();
  });
}
await run(config);

async function run({ region, seeds, http, sdkCallers, httpCallers }: LoadConfig): Promise<void> {
  const names = Array.from({ length: sdkCallers }, (_, at) => `${region}-sdk-${at + 1}`);
  const doors: OpenDoor[] = [];
  for (const name of names) doors.push(await connected(name, seeds));
  for (let at = 1; at <= httpCallers; at += 1) doors.push(openAiDoor(`${region}-http-${at}`, http));
  state("ready");
  const all = [...longQuestions(), ...questions()];
  const chats = all.filter(({ request }) => request.prompt.case === "chat");
  let opened = 0;
  const calls = doors.map((door, index) => {
    const asked = door.door.kind === "sdk" ? all : chats;
    return callWithoutEnd(
      door,
      callerOptions(asked, index, () => (opened += 1)),
    );
  });
  await Promise.all(calls);
  for (const door of doors) door[Symbol.dispose]();
  state("done");
}

function callerOptions(
  asked: readonly Question[],
  index: number,
  count: () => number,
): CallerOptions {
  const { region, pauseMs, seed, streamsMax = Number.POSITIVE_INFINITY } = config;
  const enough = new AbortController();
  let ended = 0;
  const ids = new WeakMap<StreamLog, number>();
  const idOf = (log: StreamLog) => ids.get(log) ?? 0;
  return {
    clock: wallClock,
    random: seededRandom(seed * 1000 + index),
    questions: asked,
    stop: AbortSignal.any([stopping.signal, enough.signal]),
    pauseMeanMs: pauseMs,
    onOpen: (log) => void ids.set(log, count()),
    onStart: (log) => print(startLine(region, idOf(log), log)),
    onEnd: (log) => {
      print(endLine(region, idOf(log), log));
      ended += 1;
      if (ended >= streamsMax) enough.abort();
    },
  };
}

async function connected(name: string, seeds: readonly string[]): Promise<OpenDoor> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await sdkDoor(name, seeds);
    } catch (thrown) {
      if (tries === CONNECT_TRIES_MAX) throw thrown;
      await pause(systemClock, CONNECT_RETRY_MS);
    }
  }
}

function state(event: "ready" | "stopping" | "done"): void {
  print({ event, region: config.region, atMs: systemClock.now() });
}

function print(line: LoadLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
