// Which gateway to talk to: the ready one that answers first.
import { Fault } from "../../proto/fault.ts";

const PROBE_TIMEOUT_MS = 2_000;

/** Faults: `unavailable` when none is ready. */
export async function nearestOf(
  candidates: readonly { readonly name: string; readonly http: string }[],
  signal: AbortSignal,
): Promise<string> {
  const probes = candidates.map(async ({ http }) => {
    const timeout = AbortSignal.any([signal, AbortSignal.timeout(PROBE_TIMEOUT_MS)]);
    const response = await fetch(`${http}/readyz`, { signal: timeout });
    await response.body?.cancel();
    if (!response.ok) throw new Error(`${http} isn't ready`);
    return http;
  });
  try {
    return await Promise.any(probes);
  } catch (thrown) {
    const names = candidates.map(({ name }) => name).join(", ");
    throw new Fault("unavailable", `none of ${names} is ready`, { cause: thrown });
  }
}
