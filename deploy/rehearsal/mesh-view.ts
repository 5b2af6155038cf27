// The mesh as an operator sees it from outside, over the ports that the containers publish.
import type { StatusView } from "../../coordinator/api/fleet-routes.ts";
import { publishedPorts } from "../compose/published-ports.ts";

const ANSWER_MAX_MS = 2000;

interface RegionView {
  /** Those that answer now, and which of them has the lease. */
  readonly instances?: readonly { readonly instance: string; readonly holds?: boolean }[];
  readonly edges?: readonly { readonly edge: string; readonly status: string }[];
}

export function httpOf(host: string): string {
  return `http://127.0.0.1:${publishedPorts()[host]}`;
}

/** The JSON that a container answers, or undefined when it doesn't. */
export async function ask<T>(host: string, path: string): Promise<T | undefined> {
  try {
    const signal = AbortSignal.timeout(ANSWER_MAX_MS);
    const response = await fetch(`${httpOf(host)}${path}`, { signal });
    return response.ok ? ((await response.json()) as T) : undefined;
  } catch {
    return undefined; // down, silent or starting: all the same to who asks
  }
}

export function meshStatus(): Promise<StatusView | undefined> {
  return ask<StatusView>("coordinator", "/v1/status");
}

/** Which of a region's instances has the lease, as one of them says. */
export async function holderOf(regionHost: string): Promise<string | undefined> {
  const view = await ask<RegionView>(regionHost, "/v1/region");
  return view?.instances?.find(({ holds }) => holds === true)?.instance;
}

/** What a region's coordinator calls its edge: `ready`, or anything else. */
export async function edgeStatus(regionHost: string, edge: string): Promise<string | undefined> {
  const view = await ask<RegionView>(regionHost, "/v1/region");
  return view && (view.edges?.find((one) => one.edge === edge)?.status ?? "gone");
}

/** What is missing for the mesh to be whole, or null. */
export function missingOf(
  status: StatusView | undefined,
  shape: { readonly regions: readonly string[]; readonly edges: number },
): string | null {
  if (status === undefined) return "the coordinator doesn't answer";
  for (const region of shape.regions) {
    const found = status.regions.find((one) => one.region === region);
    if (found === undefined || !found.reachable) return `${region} isn't in reach`;
    if (found.alive < shape.edges) return `${region} has ${found.alive} of ${shape.edges} edges`;
  }
  const [model] = status.models;
  if (!model?.served) return "no model is served";
  const serving = model.rollout?.serving.length ?? 0;
  const all = shape.regions.length * shape.edges;
  return serving < all ? `${serving} of ${all} edges serve ${model.served}` : null;
}
