// The seeds that once failed an audit, kept beside the code so that they are run ever after.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { AuditSeed } from "./audit-run.ts";

const path = join(import.meta.dirname, "..", "seeds.json");

export function keptSeeds(): AuditSeed[] {
  return JSON.parse(readFileSync(path, "utf8")) as AuditSeed[];
}

/** Keeps one more, unless it is there already. */
export function keepSeed(seed: AuditSeed): void {
  const kept = keptSeeds();
  const sizeOf = ({ found: _, ...size }: AuditSeed) => JSON.stringify(size);
  if (kept.some((each) => sizeOf(each) === sizeOf(seed))) return;
  const lines = [...kept, seed].map((each) => `  ${JSON.stringify(each)}`);
  writeFileSync(path, `[\n${lines.join(",\n")}\n]\n`);
}
