// Hands a signed delta in at the region: the manifest, then the bytes from where the region has
// them, again and again until it has given its last word or the deadline is over.
import { type FileHandle, open } from "node:fs/promises";
import { toJson } from "@bufbuild/protobuf";
import { z } from "zod";
import { type DeltaManifest, DeltaManifestSchema } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import { pause } from "../../sync/artifact/pause.ts";
import { chunksOfManifest, hashOfChunk } from "../../sync/delta/chunks.ts";

const PIECE_BYTES = 8 << 20;
const REQUEST_MAX_MS = 60_000;
/** Where somebody else takes it, too, nobody is waited for as long. */
const ONE_OF_SEVERAL_MAX_MS = 15_000;
const FIRST_DELAY_MS = 200;
const DELAY_MAX_MS = 5_000;
const REASON_LENGTH_MAX = 300;
/**
 * Past the deadline the region is still asked for so long: it may have taken the delta before this
 * edge was killed, and then the edge must hear of it; else it is told that it is late.
 */
const LAST_WORD_MS = 30_000;

export interface DeltaUploadOptions {
  readonly manifest: DeltaManifest;
  readonly path: string;
  /** http://host:port of the region, as it was told last. */
  readonly address: () => string;
  /** Others that take it for the region, when nobody answers there. */
  readonly elsewhere?: () => readonly string[];
  readonly deadlineMs: number;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

export interface UploadOutcome {
  /** The region has the delta and counts it. */
  readonly included: boolean;
  /**
   * The region's last word, e.g. included, duplicate, late, quarantined; or damaged, when the file
   * here is no longer what was signed.
   */
  readonly status: string;
  readonly reason: string;
}

const answerSchema = z.object({
  status: z.string(),
  reason: z.string(),
  received: z.number().int().min(0),
});
type RegionAnswer = z.infer<typeof answerSchema>;

const lastWords = ["included", "duplicate", "late", "quarantined", "conflict", "not-invited"];

/** Resolves with the region's last word. Faults: `cancelled`. */
export async function uploadDelta(options: DeltaUploadOptions): Promise<UploadOutcome> {
  if (!(await isSound(options))) {
    return {
      included: false,
      status: "damaged",
      reason: "the delta on this edge's disk is damaged",
    };
  }
  await using file = await open(options.path);
  let delayMs = FIRST_DELAY_MS;
  let trouble = "the region gave no answer";
  let received = 0;
  let failures = 0;
  const endMs = Math.max(options.deadlineMs, options.clock.now() + LAST_WORD_MS);
  while (options.clock.now() < endMs) {
    try {
      const { status, reason } = await uploadOnce(file, options, failures, (bytes) => {
        // A link that breaks often but brings something each time deserves no long pause.
        if (bytes > received) delayMs = FIRST_DELAY_MS;
        received = Math.max(received, bytes);
      });
      const included = status === "included" || status === "duplicate";
      return { included, status, reason: reason.slice(0, REASON_LENGTH_MAX) };
    } catch (thrown) {
      trouble = thrown instanceof Error ? thrown.message : String(thrown);
      failures += 1;
    }
    const leftMs = endMs - options.clock.now();
    await pause(options.clock, Math.min(delayMs, leftMs), options.signal);
    delayMs = Math.min(delayMs * 2, DELAY_MAX_MS);
  }
  return { included: false, status: "late", reason: trouble.slice(0, REASON_LENGTH_MAX) };
}

/**
 * Whether the file is what its manifest says, chunk by chunk: a region would ask for a damaged one
 * again and again.
 */
async function isSound({ path, manifest }: DeltaUploadOptions): Promise<boolean> {
  await using file = await open(path);
  const { total, chunkBytes, hashes } = chunksOfManifest(manifest);
  const buffer = Buffer.alloc(Math.min(chunkBytes, total));
  for (const [i, hash] of hashes.entries()) {
    const { bytesRead } = await file.read(buffer, 0, buffer.length, i * chunkBytes);
    if (!Buffer.from(hash).equals(hashOfChunk(buffer.subarray(0, bytesRead)))) return false;
  }
  return (await file.stat()).size === total;
}

/** One try from the manifest on. Throws when it makes sense to try again. */
async function uploadOnce(
  file: FileHandle,
  options: DeltaUploadOptions,
  failures: number,
  onReceived: (bytes: number) => void,
): Promise<RegionAnswer> {
  const { campaign, round, edge, delta } = options.manifest;
  const places = [options.address(), ...(options.elsewhere?.() ?? [])];
  const place = places[failures % places.length];
  const requestMaxMs = places.length > 1 ? ONE_OF_SEVERAL_MAX_MS : REQUEST_MAX_MS;
  const sending = { signal: options.signal, requestMaxMs };
  const url = new URL(`/v1/rounds/${campaign}/${round}/deltas/${edge}`, place);
  const manifest = JSON.stringify(toJson(DeltaManifestSchema, options.manifest));
  const total = Number(delta!.bytes);
  let answer = await put(`${url}/manifest`, manifest, {}, sending);
  const piece = Buffer.alloc(Math.min(PIECE_BYTES, total));
  while (!lastWords.includes(answer.status)) {
    if (answer.status === "manifest-first") throw new Error("the region has lost the manifest");
    const offset = answer.received;
    onReceived(offset);
    const { bytesRead } = await file.read(piece, 0, piece.length, offset);
    const last = offset + bytesRead - 1;
    const range = bytesRead > 0 ? `bytes ${offset}-${last}/${total}` : `bytes */${total}`;
    answer = await put(url.href, piece.subarray(0, bytesRead), { "content-range": range }, sending);
    const isMoving = answer.received > offset || lastWords.includes(answer.status);
    if (!isMoving) throw new Error("the region takes no more bytes");
  }
  return answer;
}

async function put(
  url: string,
  body: string | Uint8Array<ArrayBuffer>,
  headers: Record<string, string>,
  { signal, requestMaxMs }: { readonly signal: AbortSignal; readonly requestMaxMs: number },
): Promise<RegionAnswer> {
  const response = await fetch(url, {
    method: "PUT",
    body,
    headers,
    signal: AbortSignal.any([signal, AbortSignal.timeout(requestMaxMs)]),
  });
  const answer = answerSchema.safeParse(await response.json());
  if (!answer.success) throw new Error(`the region answered ${response.status}`);
  return answer.data;
}
