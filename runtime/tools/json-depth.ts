// How deep a JSON value nests, asked before anything recurses into it.

/** Whether a JSON value nests deeper than `depthMax`. Doesn't recurse: it must survive a yes. */
export function nestsDeeper(value: unknown, depthMax: number): boolean {
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > depthMax) return true;
    level = level.flatMap((inner) =>
      typeof inner === "object" && inner !== null ? Object.values(inner) : [],
    );
  }
  return false;
}
