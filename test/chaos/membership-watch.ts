// What a region's gateway says of its edges: whether all are ready, when one came to be doubted.

import { pause } from "../../deploy/load/callers.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { TestMesh } from "../e2e/test-mesh.ts";

const POLL_MS = 100;
const ANSWER_MAX_MS = 1000;

/** Status by edge, or null when the gateway doesn't answer. */
async function membersOf(mesh: TestMesh, region: string): Promise<Map<string, string> | null> {
  try {
    const signal = AbortSignal.timeout(ANSWER_MAX_MS);
    const answer = await fetch(`${mesh.http(region)}/v1/region`, { signal });
    const { edges = [] } = (await answer.json()) as { edges?: { edge: string; status: string }[] };
    return new Map(edges.map(({ edge, status }) => [edge, status]));
  } catch {
    return null;
  }
}

/** When the gateway first called the edge anything but ready; null if never before `stop`. */
export async function whenSuspected(
  mesh: TestMesh,
  clock: Clock,
  region: string,
  edge: string,
  stop: AbortSignal,
): Promise<number | null> {
  while (!stop.aborted) {
    const members = await membersOf(mesh, region);
    if (members !== null && members.get(edge) !== "ready") return clock.monotonicMs();
    await pause(clock, POLL_MS);
  }
  return null;
}

/** When these regions' gateways call all their edges ready; 0 when it takes longer than `maxMs`. */
export async function whenWhole(
  mesh: TestMesh,
  clock: Clock,
  regions: readonly string[],
  maxMs: number,
): Promise<number> {
  const looked = mesh.handle.layout.regions.filter(({ name }) => regions.includes(name));
  const endMs = clock.monotonicMs() + maxMs;
  while (clock.monotonicMs() < endMs) {
    const isWhole = await Promise.all(
      looked.map(async ({ name, edges }) => {
        const members = await membersOf(mesh, name);
        return edges.every((edge) => members?.get(edge.name) === "ready");
      }),
    );
    if (isWhole.every(Boolean)) return clock.monotonicMs();
    await pause(clock, POLL_MS);
  }
  return 0;
}
