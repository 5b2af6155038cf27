// Files come over real HTTP into a real store: pulled once, verified, kept while held.
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import test from "ava";
import { ArtifactHolder } from "../../../edge-node/versions/artifact-holder.ts";
import { Fault } from "../../../proto/fault.ts";
import { sha256 } from "../../../proto/ids.ts";
import { systemClock } from "../../../runtime/clock.ts";
import { startHttpServer } from "../../../runtime/http/server.ts";
import { silentLog } from "../../../runtime/log.ts";
import { artifactRoutes } from "../../../sync/artifact/artifact-routes.ts";
import { createArtifactStore } from "../../../sync/artifact/artifact-store.ts";

const signal = () => new AbortController().signal;

async function setUp() {
  const dir = await mkdtemp(join(tmpdir(), "isthmus-holder-"));
  const upper = createArtifactStore({ dir: join(dir, "upper") });
  const put = async (text: string) => {
    const bytes = Buffer.from(text);
    const name = sha256(createHash("sha256").update(bytes).digest("hex"));
    await upper.put(name, bytes.length, Readable.from([bytes]));
    return { sha256: name, bytes: bytes.length };
  };
  let asked = 0;
  const app = artifactRoutes(upper);
  const http = await startHttpServer({ host: "127.0.0.1", port: 0, app, log: silentLog() });
  const store = createArtifactStore({ dir: join(dir, "edge"), maxBytes: 100 });
  const sources = () => {
    asked++;
    return [`http://127.0.0.1:${http.port}`];
  };
  const newHolder = () => new ArtifactHolder({ store, sources, clock: systemClock });
  const tearDown = async () => {
    await http.stop();
    await rm(dir, { recursive: true });
  };
  return { store, put, newHolder, pulls: () => asked, tearDown };
}

test("a file is pulled once for all who want it, and stays while it is held", async (t) => {
  const { store, put, newHolder, pulls, tearDown } = await setUp();
  const artifact = await put("a".repeat(60));
  const holder = newHolder();
  const all = await Promise.all([1, 2, 3].map(() => holder.hold(artifact, signal())));
  t.is(pulls(), 1);
  const other = await put("b".repeat(60));
  t.like(await t.throwsAsync(holder.hold(other, signal()), { instanceOf: Fault }), {
    code: "payload-too-large",
  });
  for (const held of all) held.release();
  await holder.hold(other, signal());
  t.false(store.has(artifact.sha256), "it made room");
  await tearDown();
});

test("a file that was damaged on this edge's disk is found out and pulled again", async (t) => {
  const { put, newHolder, pulls, tearDown } = await setUp();
  const artifact = await put("weights");
  const { path, release } = await newHolder().hold(artifact, signal());
  release();
  await writeFile(path, "weiGhts");
  const again = await newHolder().hold(artifact, signal());
  t.is(pulls(), 2);
  t.is(
    createHash("sha256")
      .update(await readFile(again.path))
      .digest("hex"),
    artifact.sha256,
  );
  await tearDown();
});

test("an abort ends the wait at once", async (t) => {
  const { put, newHolder, tearDown } = await setUp();
  const artifact = await put("c");
  const abort = new AbortController();
  abort.abort();
  const holder = newHolder();
  const waiting = holder.hold(artifact, abort.signal);
  t.like(await t.throwsAsync(waiting, { instanceOf: Fault }), { code: "cancelled" });
  await holder.hold(artifact, signal());
  await tearDown();
});
