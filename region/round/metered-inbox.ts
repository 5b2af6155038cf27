// The delta inbox as a region runs it: with its folder for deltas on their way, and everything
// that is refused counted and logged.
import { mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Log } from "../../runtime/log.ts";
import type { Metrics } from "../../runtime/metrics.ts";
import { screeningReasons } from "../../sync/delta/screening.ts";
import { DeltaInbox, type DeltaInboxOptions } from "./delta-inbox.ts";

/** Unfinished deltas kept for resumption; the oldest beyond these are dropped at start. */
const INCOMING_MAX = 256;

export interface MeteredInboxOptions
  extends Pick<
    DeltaInboxOptions,
    "region" | "deltas" | "pins" | "clock" | "fetchArtifact" | "onLeft" | "epoch"
  > {
  /** Folder of the region's rounds. */
  readonly dir: string;
  readonly metrics: Metrics;
  readonly log: Log;
}

export function createMeteredInbox(options: MeteredInboxOptions): DeltaInbox {
  const { dir, metrics, log, ...rest } = options;
  const incomingDir = join(dir, "incoming");
  mkdirSync(incomingDir, { recursive: true });
  dropOldest(incomingDir);
  const refused = metrics.counter({
    name: "isthmus_round_deltas_refused_total",
    help: "Deltas that screening kept out, by reason.",
    labels: ["reason"],
  });
  for (const reason of screeningReasons) refused.inc({ reason }, 0);
  const badChunks = metrics.counter({
    name: "isthmus_round_chunks_refused_total",
    help: "Chunks of deltas that arrived damaged and were asked for again.",
  });
  return new DeltaInbox({
    ...rest,
    incomingDir,
    onObjection: (edge, { reason, detail }) => {
      refused.inc({ reason });
      log.warn({ edge, reason, detail }, "a delta was quarantined");
    },
    onBadChunk: (edge) => {
      badChunks.inc();
      log.warn({ edge }, "a chunk of a delta arrived damaged");
    },
  });
}

function dropOldest(dir: string): void {
  const files = readdirSync(dir)
    .map((name) => ({ name, changedMs: statSync(join(dir, name)).mtimeMs }))
    .sort((a, b) => b.changedMs - a.changedMs);
  for (const { name } of files.slice(INCOMING_MAX)) rmSync(join(dir, name), { force: true });
}
