// What an edge serves over its life: told, remembered across restarts, from the operator's files.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import test from "ava";
import { ServedModels } from "../../../edge-node/serving/served-models.ts";
import { Versions } from "../../../edge-node/versions/versions.ts";
import {
  DesiredStateSchema,
  type ModelVersionSchema,
} from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { silentLog } from "../../../runtime/log.ts";
import { eventually } from "../../support/eventually.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { ScriptedEngine } from "../engine/scripted-engine.ts";

type VersionInit = MessageInitShape<typeof ModelVersionSchema>;

const version = (model: string, number: number, letter: string): VersionInit => ({
  model,
  version: `${model}@${number}`,
  base: { sha256: letter.repeat(64), bytes: 1n, name: "base" },
});
const desired = (revision: number, ...models: VersionInit[]) =>
  create(DesiredStateSchema, { revision: BigInt(revision), models });

const dirs: string[] = [];
test.after.always(async () => {
  for (const dir of dirs) await rm(dir, { recursive: true });
});

async function setUp() {
  const dir = await mkdtemp(join(tmpdir(), "isthmus-versions-"));
  dirs.push(dir);
  const start = (files: { model: string; path: string }[] = []) => {
    const models = new ServedModels();
    const engines: ScriptedEngine[] = [];
    const versions = new Versions({
      name: "us/us-1",
      dir,
      files,
      models,
      hold: async (artifact) => ({ path: `/${artifact.sha256[0]}`, release: () => {} }),
      startEngine: async (asked) => {
        const engine = new ScriptedEngine({ version: asked.version.id });
        engines.push(engine);
        return engine;
      },
      clock: new ManualClock(),
      log: silentLog(),
      onChange: () => {},
    });
    const serves = (expected: readonly string[]) =>
      eventually(`it serves ${expected.join(", ")}`, () => {
        const now = models.list().map((info) => info.version);
        return now.sort().join() === [...expected].sort().join();
      });
    return { models, versions, engines, serves };
  };
  return { dir, start };
}

test("what was told is remembered: the next process serves it with nobody above", async (t) => {
  const { start } = await setUp();
  const first = start();
  t.is(first.versions.notReady, "no model is wanted here yet");
  first.versions.take(desired(7, version("m", 3, "a"), version("n", 1, "b")));
  await first.serves(["m@3", "n@1"]);
  t.is(first.versions.notReady, null);
  t.is(first.versions.reconciledRevision, 7n);
  await first.versions.stop();
  const second = start();
  await second.serves(["m@3", "n@1"]);
  t.is(second.versions.reconciledRevision, 7n);
  second.versions.take(desired(6, version("m", 2, "c")));
  t.deepEqual(second.versions.names(), ["m", "n"]);
  await second.versions.stop();
});

test("a damaged memory is no memory: the edge starts and is told again", async (t) => {
  const { dir, start } = await setUp();
  await writeFile(join(dir, "desired.json"), '{"revision": "7", "mod');
  const { versions, serves } = start();
  t.is(versions.notReady, "no model is wanted here yet");
  versions.take(desired(1, version("m", 1, "a")));
  await serves(["m@1"]);
  t.regex(await readFile(join(dir, "desired.json"), "utf8"), /"revision":\s*"1"/);
  await versions.stop();
});

test("a file of the operator's is served until its model is desired", async (t) => {
  const { start } = await setUp();
  const { versions, serves, engines } = start([{ model: "m", path: "/own.gguf" }]);
  await serves(["m@0"]);
  t.is(versions.notReady, null);
  versions.take(desired(1, version("m", 1, "a"), version("n", 1, "b")));
  await serves(["m@1", "n@1"]);
  versions.take(desired(2));
  await serves(["m@0"]);
  await eventually(
    "the others have ended",
    () => engines.filter(({ state }) => state === "closed").length === 3,
  );
  await versions.stop();
});

test("a version that makes no sense is told as failed; the rest stands", async (t) => {
  const { start } = await setUp();
  const { versions, serves } = start();
  versions.take(desired(1, version("m", 1, "a")));
  await serves(["m@1"]);
  versions.take(desired(2, { model: "m", version: "m@2" }, version("n", 1, "b")));
  await serves(["m@1", "n@1"]);
  t.like(versions.progressOf("m"), { kind: "failed", version: "m@2" });
  t.is(versions.reconciledRevision, 1n, "not reconciled to the second");
  t.is(versions.notReady, null, "it serves all the same");
  versions.take(desired(3, version("m", 1, "a"), version("n", 1, "b")));
  t.is(versions.progressOf("m").kind, "settled");
  await eventually("it is reconciled", () => versions.reconciledRevision === 3n);
  await versions.stop();
});

test("an engine that restarts makes the edge not ready, with the reason", async (t) => {
  const { start } = await setUp();
  const { versions, serves, engines } = start();
  versions.take(desired(1, version("m", 1, "a")));
  await serves(["m@1"]);
  engines[0]!.crash();
  t.regex(versions.notReady ?? "", /m: the engine is loading/);
  engines[0]!.recover();
  t.is(versions.notReady, null);
  await versions.stop();
});
