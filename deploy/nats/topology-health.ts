// Whether the servers of a topology have found each other, asked of their monitoring pages.
import type { NatsServerPlan } from "./config.ts";

const QUERY_MAX_MS = 1_000;

/**
 * Names the links that are missing among the servers, empty once the topology is whole: each core
 * server holds a gateway to every other site, each JetStream server its leaf link.
 */
export async function missingLinks(plans: readonly NatsServerPlan[]): Promise<string[]> {
  const sites = new Set(plans.map(({ region }) => region));
  const missing = await Promise.all(
    plans.map(async ({ name, kind, region, monitorUrl }) => {
      if (kind === "j") {
        const { leafs } = await query<{ leafs?: unknown[] }>(`${monitorUrl}/leafz`);
        return (leafs ?? []).length > 0 ? [] : [`${name} has no leaf link`];
      }
      const url = `${monitorUrl}/gatewayz`;
      const answer = await query<{ outbound_gateways?: Record<string, unknown> }>(url);
      const linked = Object.keys(answer.outbound_gateways ?? {});
      const absent = [...sites].filter((site) => site !== region && !linked.includes(site));
      return absent.map((site) => `${name} has no gateway to ${site}`);
    }),
  );
  return missing.flat();
}

async function query<T extends object>(url: string): Promise<Partial<T>> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(QUERY_MAX_MS) });
    return (await response.json()) as T;
  } catch {
    return {}; // a server that doesn't answer has no links
  }
}
