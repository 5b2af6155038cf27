// What the load generators have told so far: which streams run, and what the others came to.
import type { EndLine, LoadLine, StartLine } from "../load/load-line.ts";

const OPEN_MAX = 1000;

export class StreamWatch {
  readonly ended: EndLine[] = [];
  /** Regions whose generators have said so. */
  readonly ready = new Set<string>();
  readonly done = new Set<string>();
  readonly #open = new Map<string, StartLine>();

  /** One line of a generator; what isn't JSON is ours to know, and refused. */
  take(text: string): void {
    const line = JSON.parse(text) as LoadLine;
    if (line.event === "ready") this.ready.add(line.region);
    if (line.event === "done") this.done.add(line.region);
    if (line.event === "start") this.#begin(line);
    if (line.event === "end") {
      this.#open.delete(keyOf(line));
      this.ended.push(line);
    }
  }

  get open(): readonly StartLine[] {
    return [...this.#open.values()];
  }

  /** The SDK's streams that run now, by the edge that began them. */
  midway(region: string): Map<string, number> {
    const counts = new Map<string, number>();
    for (const { door, edge } of this.#open.values()) {
      if (door !== "sdk" || !edge.startsWith(`${region}-`)) continue;
      counts.set(edge, (counts.get(edge) ?? 0) + 1);
    }
    return counts;
  }

  /** The edge of a region with most streams midway. */
  busiest(region: string): string | undefined {
    const [first] = [...this.midway(region)].sort(([, a], [, b]) => b - a);
    return first?.[0];
  }

  #begin(line: StartLine): void {
    if (this.#open.size >= OPEN_MAX) throw new Error(`more than ${OPEN_MAX} streams at once`);
    this.#open.set(keyOf(line), line);
  }
}

function keyOf({ region, id }: { readonly region: string; readonly id: number }): string {
  return `${region} ${id}`;
}
