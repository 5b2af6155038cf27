// Which edges evaluate, and what becomes of their answers.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import test from "ava";
import type { VersionRecord } from "../../../coordinator/catalogue/model-record.ts";
import { Fleet } from "../../../coordinator/rollout/fleet.ts";
import {
  datasetName,
  evaluatePrivate,
  evaluatePublic,
} from "../../../coordinator/rounds/evaluation-run.ts";
import { Fault } from "../../../proto/fault.ts";
import { ModelStatus, RegionSummarySchema } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import {
  EvaluateCommandSchema,
  type EvaluateReply,
  EvaluateReplySchema,
} from "../../../proto/gen/isthmus/v1/rounds_pb.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const artifact = { sha256: "a".repeat(64), bytes: 1, name: "m-home-heldout.jsonl" };
const version: VersionRecord = {
  ...{ model: "m", version: "m@2", number: 2, base: artifact, adapters: [], createdMs: 0 },
  ...{ parent: null, origin: { kind: "published" }, training: null, evaluations: [] },
  ...{ verdict: "candidate", reason: "" },
};
/** At once in these tests, and 15 s apart elsewhere. */
const ASKS_MAX = 12;
const task = { version, examplesMax: 100, keepOpen: true };

type Reply = Partial<EvaluateReply>;
/** "gone" never answers; "lost" does when it is asked again. */
type Answer = Reply | "silent" | "gone" | { readonly lost: Reply };

function setUp(answers: Record<string, Answer>) {
  const clock = new ManualClock();
  const fleet = new Fleet(clock);
  const asked: string[] = [];
  let sequence = 0n;
  const summarize = (names: readonly string[]) => {
    sequence += 1n;
    const models = [{ model: "m", version: "m@1", status: ModelStatus.READY }];
    const edges = names.map((edge) => ({ edge, status: "ready", models }));
    const region = "us";
    fleet.hear(create(RegionSummarySchema, { region, incarnation: 1n, sequence, edges }));
  };
  summarize(Object.keys(answers));
  const nats = {
    request: async (subject: string, body: Uint8Array) => {
      const edge = subject.split(".")[3] ?? "";
      asked.push(edge);
      const command = fromBinary(EvaluateCommandSchema, body);
      if (command.examplesMax !== 100) throw new Error("the bound did not arrive");
      const answer = answers[edge] ?? "silent";
      if (answer === "gone") return await new Promise<Uint8Array>(() => {});
      const isFirst = asked.filter((one) => one === edge).length === 1;
      const isLost = answer === "silent" || ("lost" in answer && isFirst);
      if (isLost) throw new Fault("link-lost", "no answer in time");
      const { $typeName: _, $unknown: __, ...fields } = "lost" in answer ? answer.lost : answer;
      return toBinary(EvaluateReplySchema, create(EvaluateReplySchema, fields));
    },
  };
  const { signal } = new AbortController();
  return { clock, asked, summarize, options: { fleet, nats, clock, signal } };
}

test("the public set is evaluated on the first edge that manages to", async (t) => {
  const { asked, options } = setUp({
    ...{ a: "silent", b: { failed: "no memory" }, c: { examples: 50, exact: 49 } },
    d: { examples: 50, exact: 1 },
  });
  t.deepEqual(await evaluatePublic(task, artifact, options), {
    ...{ dataset: "home", public: true, examples: 50, exact: 49, edges: ["us/c"], counts: [] },
  });
  t.deepEqual([...new Set(asked)], ["a", "b", "c"]);
  t.is(asked.length, ASKS_MAX + 2, "silence is not taken for ever");
});

test("an edge is asked again when its answer is lost", async (t) => {
  const { asked, options } = setUp({ a: { lost: { examples: 10, exact: 9 } }, b: "gone" });
  t.like(await evaluatePublic(task, artifact, options), { exact: 9, edges: ["us/a"] });
  t.deepEqual(asked, ["a", "a"]);
});

test("when no edge manages to, the last one's reason is told", async (t) => {
  const { options } = setUp({ a: "silent", b: "silent", c: { failed: "no memory" }, d: {} });
  const fault = await t.throwsAsync(evaluatePublic(task, artifact, options));
  t.like(fault, { code: "unavailable", message: "us/c: no memory" });
});

test("an edge that dies while it evaluates is not waited for", async (t) => {
  const { clock, summarize, options } = setUp({ a: "gone", b: { examples: 10, exact: 10 } });
  const evaluation = evaluatePublic(task, artifact, options);
  summarize(["b"]);
  await clock.advanceAsync(1_000, 500);
  t.deepEqual((await evaluation).edges, ["us/b"]);
});

test("private sets of one name count together; an edge without one is left out", async (t) => {
  const { options } = setUp({
    a: { dataset: "media", examples: 10, exact: 4 },
    b: { dataset: "media", examples: 30, exact: 30 },
    c: { dataset: "lights", examples: 5, exact: 9 },
    d: { examples: 0 },
    e: { dataset: "media", failed: "broken" },
  });
  t.deepEqual(await evaluatePrivate(task, options), [
    {
      ...{ dataset: "lights", public: false, examples: 5, exact: 5, edges: ["us/c"] },
      counts: [{ edge: "us/c", examples: 5, exact: 5 }],
    },
    {
      ...{ dataset: "media", public: false, examples: 40, exact: 34, edges: ["us/a", "us/b"] },
      counts: [
        { edge: "us/a", examples: 10, exact: 4 },
        { edge: "us/b", examples: 30, exact: 30 },
      ],
    },
  ]);
});

test("a public set is called by what is its own in its file's name", (t) => {
  const names = ["m-home-heldout.jsonl", "home.jsonl", "heldout.jsonl", "m-test.jsonl", "m.jsonl"];
  t.deepEqual(
    names.map((name) => datasetName("m", name)),
    ["home", "home", "public", "public", "public"],
  );
});
