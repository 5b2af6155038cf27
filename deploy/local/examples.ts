// The example files of a local mesh: private ones for each edge, a dialect a region, no two edges
// the same; and the public ones that rounds on the demo model replay and are judged by.
import { existsSync } from "node:fs";
import { join } from "node:path";
import {
  makeDialectHeldOut,
  makeHomeHeldOut,
  makeHomeReplay,
  makePrivateExamples,
  writeExamples,
} from "../demo-model/datasets.ts";
import { DIALECT_NAMES, type DialectName } from "../demo-model/dialect-grammar.ts";
import { EDGES_PER_DIALECT_MAX } from "../demo-model/example-split.ts";
import type { RoleLayout } from "./role-config.ts";

/** As many as the federated facts of the design were measured with. */
const PRIVATE_COUNT = 300;
const DIALECT_HELD_OUT_COUNT = 100;
const HOME_REPLAY_COUNT = 1_000;
const HOME_HELD_OUT_COUNT = 200;

/** An edge's own examples of one model, as its configuration names them. */
export interface PrivateData {
  /** The dialect, shown where exact match is reported. */
  readonly name: string;
  readonly train: string;
  readonly heldout: string;
}

/** What an edge has to teach: examples of its region's dialect, which no other edge has. */
export interface PrivateShare {
  readonly dialect: DialectName;
  /** Counts the edges of a dialect. */
  readonly index: number;
}

/** By edge; an edge beyond a dialect's shares is left out, as it has nothing to teach. */
export function privateShares(layout: RoleLayout): ReadonlyMap<string, PrivateShare> {
  const shares = new Map<string, PrivateShare>();
  for (const [regionIndex, region] of layout.regions.entries()) {
    const dialect = DIALECT_NAMES[regionIndex % DIALECT_NAMES.length] ?? DIALECT_NAMES[0];
    // With more regions than dialects, the later ones go on counting the dialect's edges.
    const firstEdge = Math.floor(regionIndex / DIALECT_NAMES.length) * layout.shape.edges;
    for (const [at, edge] of region.edges.entries()) {
      const index = firstEdge + at;
      if (index < EDGES_PER_DIALECT_MAX) shares.set(edge.name, { dialect, index });
    }
  }
  return shares;
}

export function privateExamples({ dialect, index }: PrivateShare) {
  return makePrivateExamples(dialect, index, PRIVATE_COUNT);
}

/** Writes the private files that are absent. The keys of the result are the edges' names. */
export function writePrivateExamples(layout: RoleLayout): ReadonlyMap<string, PrivateData> {
  const shares = privateShares(layout);
  const written = new Map<string, PrivateData>();
  for (const edge of layout.regions.flatMap(({ edges }) => edges)) {
    const share = shares.get(edge.name);
    if (share === undefined) continue;
    const name = share.dialect;
    const train = join(edge.dir, "private", `commands-${name}-train.jsonl`);
    const heldout = join(edge.dir, "private", `commands-${name}-heldout.jsonl`);
    writeOnce(train, () => privateExamples(share));
    writeOnce(heldout, () => makeDialectHeldOut(name, DIALECT_HELD_OUT_COUNT));
    written.set(edge.name, { name, train, heldout });
  }
  return written;
}

/** Writes the public files of the demo model's home domain, if absent. */
export function writeHomeExamples(dir: string): {
  readonly replay: string;
  readonly heldout: string;
} {
  const replay = join(dir, "commands-home-replay.jsonl");
  const heldout = join(dir, "commands-home-heldout.jsonl");
  writeOnce(replay, () => makeHomeReplay(HOME_REPLAY_COUNT));
  writeOnce(heldout, () => makeHomeHeldOut(HOME_HELD_OUT_COUNT));
  return { replay, heldout };
}

function writeOnce(file: string, make: () => Parameters<typeof writeExamples>[1]): void {
  if (!existsSync(file)) writeExamples(file, make());
}
