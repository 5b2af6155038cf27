// Pull, serve and upload over real HTTP, with sources that break, lie and die.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import test, { type ExecutionContext } from "ava";
import { Hono } from "hono";
import type { Sha256 } from "../../../proto/ids.ts";
import { startHttpServer } from "../../../runtime/http/server.ts";
import { silentLog } from "../../../runtime/log.ts";
import { pullArtifact } from "../../../sync/artifact/artifact-pull.ts";
import { artifactRoutes } from "../../../sync/artifact/artifact-routes.ts";
import { type ArtifactStore, createArtifactStore } from "../../../sync/artifact/artifact-store.ts";
import { hashFile, uploadArtifact } from "../../../sync/artifact/artifact-upload.ts";
import { putRoutes } from "../../../sync/artifact/put-routes.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const content = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * i + (i >> 8)) & 255));
const name = createHash("sha256").update(content).digest("hex") as Sha256;
const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const absent = createHash("sha256").update("nothing").digest("hex") as Sha256;
const target = { sha256: name, bytes: content.length };

function folder(t: ExecutionContext): string {
  const dir = mkdtempSync(join(tmpdir(), "isthmus-transfer-"));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

async function filled(t: ExecutionContext): Promise<ArtifactStore> {
  const store = createArtifactStore({ dir: folder(t) });
  await store.put(name, content.length, ReadableStream.from([content]));
  return store;
}

async function serve(t: ExecutionContext, ...apps: Hono[]): Promise<string> {
  const app = new Hono();
  for (const part of apps) app.route("/", part);
  const server = await startHttpServer({ host: "127.0.0.1", port: 0, app, log: silentLog() });
  t.teardown(() => server.stop());
  return `http://127.0.0.1:${server.port}`;
}

async function raw(t: ExecutionContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => server.closeAllConnections());
  t.teardown(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test("GET and HEAD answer whole, by range, by ETag, and refuse what is wrong", async (t) => {
  const address = await serve(t, artifactRoutes(await filled(t)));
  const ask = (headers: Record<string, string>, method = "GET", path: string = name) =>
    fetch(`${address}/v1/artifacts/${path}`, { method, headers });
  const whole = await ask({});
  t.is(whole.headers.get("etag"), `"${name}"`);
  t.is(hashOf(Buffer.from(await whole.arrayBuffer())), name);
  const head = await ask({}, "HEAD");
  t.is(head.headers.get("content-length"), String(content.length));
  const part = await ask({ range: "bytes=100-199", "if-range": `"${name}"` });
  t.is(part.status, 206);
  t.is(part.headers.get("content-range"), `bytes 100-199/${content.length}`);
  t.deepEqual(Buffer.from(await part.arrayBuffer()), content.subarray(100, 200));
  t.is((await ask({ range: "bytes=1-2", "if-range": '"other"' })).status, 200);
  t.is((await ask({ range: `bytes=${content.length}-` })).status, 416);
  t.is((await ask({ "if-none-match": `"${name}"` })).status, 304);
  t.is((await ask({}, "GET", absent)).status, 404);
  const wrong = await ask({}, "GET", "..%2F..%2Fetc%2Fpasswd");
  t.is(wrong.status, 400);
  t.like(await wrong.json(), { error: { code: "invalid-argument", param: "sha256" } });
});

test("a pull survives a source that breaks off again and again", async (t) => {
  const ranges: (string | undefined)[] = [];
  const source = await raw(t, (request, response) => {
    ranges.push(request.headers.range);
    const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
    response.writeHead(from > 0 ? 206 : 200, {
      "content-length": content.length - from,
      "content-range": `bytes ${from}-${content.length - 1}/${content.length}`,
    });
    const rest = content.subarray(from, from + 70_000);
    response.write(rest, () => from + 70_000 < content.length && response.destroy());
  });
  const store = createArtifactStore({ dir: folder(t) });
  const path = await pullArtifact({ sha256: name, bytes: 0 }, [source], store);
  t.is(hashOf(readFileSync(path)), name);
  t.true(ranges.length >= 5);
  t.is(ranges[0], undefined);
});

test("a pull moves on from sources that lie, refuse or are gone", async (t) => {
  const forged = Buffer.from(content);
  forged[1000]! ^= 1;
  const liar = await raw(t, (_, response) => response.end(forged));
  const empty = await serve(t, artifactRoutes(createArtifactStore({ dir: folder(t) })));
  const honest = await serve(t, artifactRoutes(await filled(t)));
  const store = createArtifactStore({ dir: folder(t) });
  const sources = ["http://127.0.0.1:9", liar, empty, honest];
  const path = await pullArtifact(target, sources, store);
  t.is(hashOf(readFileSync(path)), name);
  const without = createArtifactStore({ dir: folder(t) });
  const fault = await t.throwsAsync(pullArtifact(target, [liar], without));
  t.like(fault, { code: "unavailable" });
  t.false(without.has(name));
});

test("pulls of the same artifact at the same time all get it, over one transfer", async (t) => {
  let asked = 0;
  const source = await raw(t, (_, response) => {
    asked += 1;
    response.end(content);
  });
  const store = createArtifactStore({ dir: folder(t) });
  const pulls = Array.from({ length: 5 }, () => pullArtifact(target, [source], store));
  for (const path of await Promise.all(pulls)) t.is(hashOf(readFileSync(path)), name);
  t.is(asked, 1);
});

test("a source that ignores Range is read from the start again", async (t) => {
  const store = createArtifactStore({ dir: folder(t) });
  const writer = await store.write(name, content.length);
  await writer.write(content.subarray(0, 1234));
  await writer.close();
  const source = await raw(t, (_, response) => response.end(content));
  t.is(hashOf(readFileSync(await pullArtifact(target, [source], store))), name);
});

test("damage in what was left from before costs a second pull, not the artifact", async (t) => {
  const store = createArtifactStore({ dir: folder(t) });
  const writer = await store.write(name, content.length);
  await writer.write(Buffer.alloc(5000, 9));
  await writer.close();
  const source = await serve(t, artifactRoutes(await filled(t)));
  t.is(hashOf(readFileSync(await pullArtifact(target, [source], store))), name);
});

test("a cancelled pull ends at once and can be taken up again", async (t) => {
  const stop = new AbortController();
  const source = await raw(t, (_, response) => {
    response.writeHead(200, { "content-length": content.length });
    response.write(content.subarray(0, 1000));
  });
  const store = createArtifactStore({ dir: folder(t) });
  const pull = pullArtifact(target, [source], store, {
    signal: stop.signal,
    onProgress: () => stop.abort(),
  });
  t.like(await t.throwsAsync(pull), { code: "cancelled" });
  const writer = await store.write(name, content.length);
  t.is(writer.offset, 1000);
  await writer.close();
});

test("a process killed in the middle of a pull goes on where it was", async (t) => {
  const dir = folder(t);
  let hold = true;
  const asked: (string | undefined)[] = [];
  const source = await raw(t, (request, response) => {
    asked.push(request.headers.range);
    const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
    const total = content.length;
    response.writeHead(from > 0 ? 206 : 200, {
      "content-length": total - from,
      "content-range": `bytes ${from}-${total - 1}/${total}`,
    });
    if (hold) response.write(content.subarray(0, 100_000));
    else response.end(content.subarray(from));
  });
  const start = () =>
    spawn(process.execPath, [
      join(import.meta.dirname, "pull-fixture.ts"),
      ...[dir, source, name, String(content.length)],
    ]);
  const first = start();
  for await (const line of createInterface(first.stdout)) if (Number(line) === 100_000) break;
  const gone = new Promise((resolve) => first.once("exit", resolve));
  first.kill("SIGKILL");
  await gone;
  hold = false;
  const second = start();
  let last = "";
  for await (const line of createInterface(second.stdout)) last = line;
  t.is(last, "done");
  t.deepEqual(asked, [undefined, "bytes=100000-"]);
  t.is(hashOf(readFileSync(createArtifactStore({ dir }).path(name))), name);
});

test("an absent artifact is pulled through once for all who ask", async (t) => {
  const origin = await serve(t, artifactRoutes(await filled(t)));
  const cache = createArtifactStore({ dir: folder(t) });
  let pulls = 0;
  const pull = (sha256: Sha256) => {
    pulls += 1;
    return pullArtifact({ sha256, bytes: 0 }, [origin], cache);
  };
  const address = await serve(t, artifactRoutes(cache, { pull, clock: new ManualClock() }));
  const asks = Array.from({ length: 8 }, () => fetch(`${address}/v1/artifacts/${name}`));
  for (const answer of await Promise.all(asks)) {
    t.is(hashOf(Buffer.from(await answer.arrayBuffer())), name);
  }
  t.is(pulls, 1);
  t.is((await fetch(`${address}/v1/artifacts/${absent}`)).status, 503);
});

test("whoever asks during a long pull is told to come again, and a pull does so", async (t) => {
  const cache = createArtifactStore({ dir: folder(t) });
  const release = Promise.withResolvers<void>();
  const clock = new ManualClock();
  const pull = async () => {
    setImmediate(() => clock.advance(2_000));
    await release.promise;
    await cache.put(name, content.length, ReadableStream.from([content]));
  };
  const address = await serve(t, artifactRoutes(cache, { pull, clock }));
  const early = await fetch(`${address}/v1/artifacts/${name}`);
  t.is(early.status, 503);
  t.is(early.headers.get("retry-after"), "1");
  const store = createArtifactStore({ dir: folder(t) });
  const pulled = pullArtifact(target, [address], store);
  release.resolve();
  t.is(hashOf(readFileSync(await pulled)), name);
});

test("a PUT is taken whole or in pieces, and verified", async (t) => {
  const store = createArtifactStore({ dir: folder(t) });
  const address = await serve(t, putRoutes(store, { maxBytes: 400_000 }));
  const put = (body: Buffer, range?: string, path: string = name) =>
    fetch(`${address}/v1/artifacts/${path}`, {
      method: "PUT",
      body: new Uint8Array(body),
      ...(range === undefined ? {} : { headers: { "content-range": range } }),
    });
  const total = content.length;
  t.is((await put(Buffer.from("other"))).status, 400);
  t.is((await put(content, "bytes 0-1/*")).status, 400);
  t.is((await put(Buffer.alloc(400_001))).status, 413);
  const first = await put(content.subarray(0, 1000), `bytes 0-999/${total}`);
  t.is(first.status, 202);
  t.is(first.headers.get("upload-offset"), "1000");
  const gap = await put(content.subarray(2000), `bytes 2000-${total - 1}/${total}`);
  t.is(gap.status, 409);
  t.is(gap.headers.get("upload-offset"), "1000");
  const asked = await put(Buffer.alloc(0), `bytes */${total}`);
  t.is(asked.headers.get("upload-offset"), "1000");
  t.is((await put(content.subarray(1000), `bytes 1000-${total - 1}/${total}`)).status, 201);
  t.is((await put(content)).status, 200);
  t.true(await store.verify(name));
});

test("an upload goes on where it stopped, through a receiver that breaks off", async (t) => {
  const store = createArtifactStore({ dir: folder(t) });
  const real = await serve(t, putRoutes(store, { maxBytes: 400_000 }));
  const writer = await store.write(name, content.length);
  await writer.write(content.subarray(0, 777));
  await writer.close();
  let refusals = 2;
  const flaky = await raw(t, async (request, response) => {
    if (refusals-- > 0) return void request.socket.destroy();
    const body = Buffer.concat(await request.toArray());
    const range = request.headers["content-range"] ?? "";
    const headers = { "content-range": range };
    const answer = await fetch(`${real}${request.url}`, { method: "PUT", body, headers });
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    response.end(Buffer.from(await answer.arrayBuffer()));
  });
  const path = join(folder(t), "file");
  writeFileSync(path, content);
  const seen: number[] = [];
  const file = await hashFile(path);
  await uploadArtifact(file, flaky, { onProgress: (bytes) => seen.push(bytes) });
  t.deepEqual(seen, [777, content.length]);
  t.true(await store.verify(name));
});
