// How far a version has come: who serves it, who is on the way, who could not. And waiting for it.
import { ModelStatus } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { EdgeView, Fleet } from "./fleet.ts";

/** How often an answer is looked for besides on every summary: an edge may only fall silent. */
const LOOK_MS = 500;

export interface RolloutProgress {
  readonly version: string;
  /** `<region>/<edge>`, each in one list; edges that are dead or draining are in none. */
  readonly serving: readonly string[];
  readonly waiting: readonly string[];
  readonly failed: readonly { readonly edge: string; readonly reason: string }[];
}

export function rolloutProgress(
  model: string,
  version: string,
  edges: readonly EdgeView[],
): RolloutProgress {
  const serving: string[] = [];
  const waiting: string[] = [];
  const failed: { edge: string; reason: string }[] = [];
  for (const { region, edge, alive } of edges) {
    if (!alive) continue;
    const name = `${region}/${edge.edge}`;
    const states = edge.models.filter((state) => state.model === model);
    const state = states.find((one) => one.version === version);
    if (state?.status === ModelStatus.READY) serving.push(name);
    else if (state?.status === ModelStatus.FAILED)
      failed.push({ edge: name, reason: state.reason });
    else waiting.push(name);
  }
  return { version, serving, waiting, failed };
}

/** Waits until nobody is on the way any more, or the deadline; resolves with how it stands then. */
export function awaitRollout(
  fleet: Fleet,
  clock: Clock,
  target: { readonly model: string; readonly version: string },
  options: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<RolloutProgress> {
  return new Promise((resolve) => {
    const look = () => rolloutProgress(target.model, target.version, fleet.edges());
    const end = () => {
      timeout.cancel();
      again.cancel();
      stopListening();
      options.signal.removeEventListener("abort", end);
      resolve(look());
    };
    const check = () => {
      const { serving, waiting } = look();
      if (waiting.length === 0 && serving.length > 0) end();
    };
    const timeout = clock.after(options.timeoutMs, end);
    const again = clock.every(LOOK_MS, check);
    const stopListening = fleet.onChange(check);
    options.signal.addEventListener("abort", end, { once: true });
    check();
  });
}
