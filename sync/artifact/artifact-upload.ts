// Sends a file to a role that takes artifacts, in pieces, so that a broken link or a restarted
// receiver costs at most one piece.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, stat } from "node:fs/promises";
import { asFault, Fault, isFaultCode } from "../../proto/fault.ts";
import type { Sha256 } from "../../proto/ids.ts";
import { type Clock, systemClock } from "../../runtime/clock.ts";
import { pause } from "./pause.ts";

const PIECE_BYTES = 8 * 2 ** 20;
const FAILURES_MAX = 6;
const FIRST_DELAY_MS = 200;
const PIECE_TIMEOUT_MS = 120_000;

export interface UploadOptions {
  readonly signal?: AbortSignal;
  readonly clock?: Clock;
  readonly onProgress?: (bytes: number, total: number) => void;
}

export interface HashedFile {
  readonly path: string;
  readonly sha256: Sha256;
  readonly bytes: number;
}

export async function hashFile(path: string): Promise<HashedFile> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) hash.update(chunk);
  return { path, sha256: hash.digest("hex") as Sha256, bytes: (await stat(path)).size };
}

/**
 * Puts a file to `<address>/v1/artifacts/<sha256>`, going on where an earlier try stopped.
 * Faults: what the receiver refused it with, or `unavailable` when it can't be reached.
 */
export async function uploadArtifact(
  file: HashedFile,
  address: string,
  options: UploadOptions = {},
): Promise<void> {
  const clock = options.clock ?? systemClock;
  const url = new URL(`/v1/artifacts/${file.sha256}`, address);
  await using source = await open(file.path);
  const piece = Buffer.alloc(Math.min(PIECE_BYTES, file.bytes));
  let offset: number | undefined;
  let failures = 0;
  while (offset !== file.bytes) {
    try {
      let body = piece.subarray(0, 0);
      if (offset !== undefined) {
        const { bytesRead } = await source.read(piece, 0, piece.length, offset);
        body = piece.subarray(0, bytesRead);
      }
      const next = await sendPiece(url, file.bytes, offset, body, options.signal);
      if (offset !== undefined && next > offset) failures = 0;
      offset = next;
      options.onProgress?.(offset, file.bytes);
    } catch (thrown) {
      failures += 1;
      offset = undefined;
      const fault = asFault(thrown, "unavailable");
      if (!fault.retriable || failures >= FAILURES_MAX || options.signal?.aborted) throw fault;
      await pause(clock, FIRST_DELAY_MS * 2 ** (failures - 1), options.signal);
    }
  }
}

/** Sends one piece, or asks where to go on; returns the first byte that the receiver lacks. */
async function sendPiece(
  url: URL,
  total: number,
  offset: number | undefined,
  body: Buffer,
  signal: AbortSignal | undefined,
): Promise<number> {
  const range = offset === undefined ? "*" : `${offset}-${offset + body.length - 1}`;
  const timeout = AbortSignal.timeout(PIECE_TIMEOUT_MS);
  const response = await fetch(url, {
    method: "PUT",
    headers: { "content-range": `bytes ${range}/${total}` },
    body: body as Uint8Array<ArrayBuffer>,
    signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
  });
  const text = await response.text();
  if (response.status === 200 || response.status === 201) return total;
  if (response.status === 202 || response.status === 409) {
    const next = Number(response.headers.get("upload-offset") ?? Number.NaN);
    if (Number.isSafeInteger(next)) return next;
  }
  throw refusedUpload(url, response.status, text);
}

function refusedUpload(url: URL, status: number, text: string): Fault {
  const said = /"code":"([a-z-]+)","message":"((?:[^"\\]|\\.)*)"/.exec(text);
  const code = said?.[1];
  if (code !== undefined && code !== "conflict" && isFaultCode(code)) {
    return new Fault(code, said?.[2] ?? text);
  }
  return new Fault("unavailable", `${url.origin} answered ${status} to the upload`);
}
