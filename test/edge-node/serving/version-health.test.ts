// What an edge counts of each version that it serves.
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import test from "ava";
import { ServedModels } from "../../../edge-node/serving/served-models.ts";
import {
  SILENT_MS,
  VERSIONS_KEPT,
  VersionBook,
  type VersionRating,
} from "../../../edge-node/serving/version-health.ts";
import { Fault, type FaultCode } from "../../../proto/fault.ts";
import { GenerateResponseSchema } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import type { InferenceBackend } from "../../../runtime/inference/backend.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { ScriptedEngine } from "../engine/scripted-engine.ts";
import { context, request, servedVersion } from "./served-script.ts";

type Init = MessageInitShape<typeof GenerateResponseSchema>;

/** What a request does: milliseconds that pass, events, and a fault in the end. */
type Script = readonly (number | "started" | "tokens" | FaultCode)[];

function setUp() {
  const clock = new ManualClock();
  const models = new ServedModels();
  const engine = new ScriptedEngine({ version: "v1" });
  const serve = (version: string) => models.activate(servedVersion(engine, version, "v1"));
  serve("m@1");
  const book = new VersionBook({ models, clock });
  let script: Script = [];
  const unused = () => Promise.reject(new Error("unused"));
  const backend: InferenceBackend = {
    generate: async (_request, _context, onEvent) => {
      const tell = (event: object) => onEvent(create(GenerateResponseSchema, { event } as Init));
      const { version = "" } = models.active("m") ?? {};
      for (const move of script) {
        if (typeof move === "number") clock.advance(move);
        else if (move === "started") tell({ case: "started", value: { version } });
        else if (move === "tokens") tell({ case: "tokens", value: { ids: [1, 2] } });
        else throw new Fault(move, "scripted");
      }
    },
    ...{ embed: unused, score: unused, listModels: () => [] },
  };
  const counted = book.around(backend);
  const run = async (moves: Script, init: Parameters<typeof request>[0] = {}) => {
    script = moves;
    await counted.generate(request(init), context(), () => {}).catch(() => undefined);
  };
  const of = (version: string) => book.health().find((one) => one.version === version);
  return { clock, serve, book, run, of };
}

const complete: Script = ["started", 40, "tokens", 10, "tokens", 20, "tokens"];

test("times are told as sums, squares and counts, of the first token and the rest", async (t) => {
  const { run, of } = setUp();
  await run(complete);
  await run(["started", 60, "tokens"]);
  const told = of("m@1")!;
  t.like(told, { model: "m", requests: 2n, errors: 0n, ttftMsSum: 100, ttftCount: 2n });
  // 30 ms for the four tokens after the first two; a single event has no time between tokens.
  t.like(told, { tpotMsSum: 7.5, tpotMsSquareSum: 7.5 ** 2, tpotCount: 1n });
  t.is(told.ttftMsSquareSum, 40 ** 2 + 60 ** 2);
});

test("a fault of this side is an error; a caller's own is no request at all", async (t) => {
  const { run, of } = setUp();
  for (const code of ["engine-crashed", "internal", "unavailable", "link-lost"] as const) {
    await run(["started", 5, code]);
  }
  for (const code of ["invalid-argument", "context-length-exceeded", "cancelled"] as const) {
    await run([code]);
  }
  t.like(of("m@1"), { requests: 4n, errors: 4n });
});

test("a stream that fell silent until it was given up is an error", async (t) => {
  const { run, of } = setUp();
  await run(["started", SILENT_MS - 1, "cancelled"]);
  t.like(of("m@1"), { requests: 0n });
  await run(["started", SILENT_MS, "cancelled"]);
  await run(["started", 5, "tokens", SILENT_MS, "deadline-exceeded"]);
  t.like(of("m@1"), { requests: 2n, errors: 2n });
  await run(["started", 5, "tokens", 5, "cancelled"]);
  t.like(of("m@1"), { requests: 3n, errors: 2n }, "it was answered as far as it was wanted");
});

test("requests that pin a version don't count", async (t) => {
  const { run, of } = setUp();
  await run(complete, { version: "m@1" });
  t.like(of("m@1"), { requests: 0n });
});

test("a version that begins to serve is counted from zero, beside those before it", async (t) => {
  const { run, of, serve, clock, book } = setUp();
  await run(complete);
  clock.advance(1_000);
  serve("m@2");
  await run(["started", 5, "internal"]);
  t.like(of("m@1"), { requests: 1n, errors: 0n });
  t.like(of("m@2"), { requests: 1n, errors: 1n });
  t.true(of("m@2")!.sinceMs > of("m@1")!.sinceMs);
  clock.advance(1_000);
  serve("m@1");
  t.like(of("m@1"), { requests: 0n });
  t.like(of("m@2"), { requests: 1n });
  for (let number = 3; number < 9; number += 1) serve(`m@${number}`);
  t.is(book.health().length, VERSIONS_KEPT);
});

test("ratings count from when the version began to serve, and where it never did", async (t) => {
  const { book, of, serve } = setUp();
  let ratings: VersionRating[] = [
    { model: "m", version: "m@1", sum: 3, count: 4 },
    { model: "m", version: "m@9", sum: -5, count: 5 },
  ];
  book.rateBy(() => ratings);
  t.like(of("m@1"), { feedbackCount: 0n, feedbackSum: 0 });
  t.is(of("m@9"), undefined, "nothing new is said of it");
  ratings = [
    { model: "m", version: "m@1", sum: 2, count: 5 },
    { model: "m", version: "m@9", sum: -7, count: 7 },
  ];
  t.like(of("m@1"), { feedbackCount: 1n, feedbackSum: -1 });
  t.like(of("m@9"), { feedbackCount: 2n, feedbackSum: -2, requests: 0n });
  serve("m@9");
  t.like(of("m@9"), { feedbackCount: 0n });
});
