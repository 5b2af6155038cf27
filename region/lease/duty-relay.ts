// HTTP requests for what only the holder of the lease may do, at a process that isn't: passed on to
// the holder, once, or answered with 503 while there is none.
import type { MiddlewareHandler } from "hono";
import type { LeaseRecord } from "./lease-state.ts";
import { noDuty } from "./tenure.ts";

/** Names who has passed a request on: it goes no further. */
const RELAYED_HEADER = "isthmus-relayed-by";
/** Of one connection, not of the message. */
const hopHeaders = ["connection", "keep-alive", "transfer-encoding", "upgrade", "host", "expect"];

export interface DutyRelayOptions {
  readonly instance: string;
  /** Whether this process answers itself. */
  readonly isHere: () => boolean;
  readonly holder: () => LeaseRecord | null;
  /** Calls when another process may have the lease. */
  readonly onChange: (listener: () => void) => void;
}

/** Faults: `unavailable` with retryAfterMs while nobody has the duty, or he doesn't answer. */
export function dutyRelay(options: DutyRelayOptions): MiddlewareHandler {
  const { instance, isHere, holder, onChange } = options;
  const underWay = new Set<{ readonly to: LeaseRecord; readonly abort: AbortController }>();
  onChange(() => {
    // Whoever lost the lease may be frozen, and would never answer.
    for (const { to, abort } of underWay) if (holder()?.term !== to.term) abort.abort();
  });
  return async (c, next) => {
    if (isHere()) return await next();
    const to = holder();
    if (to === null || c.req.header(RELAYED_HEADER) !== undefined) throw noDuty();
    const passing = { to, abort: new AbortController() };
    underWay.add(passing);
    try {
      return await passOn(c.req.raw, to, instance, passing.abort.signal);
    } catch {
      throw noDuty();
    } finally {
      underWay.delete(passing);
    }
  };
}

async function passOn(
  request: Request,
  { http }: LeaseRecord,
  instance: string,
  lost: AbortSignal,
): Promise<Response> {
  const { pathname, search } = new URL(request.url);
  const headers = new Headers(request.headers);
  for (const name of hopHeaders) headers.delete(name);
  headers.set(RELAYED_HEADER, instance);
  const { method, body } = request;
  const answer = await fetch(new URL(`${pathname}${search}`, http), {
    ...{ method, headers, signal: AbortSignal.any([request.signal, lost]) },
    ...(body === null ? {} : { body, duplex: "half" }),
  });
  // Whole at once: these answers are small, and a holder that dies in the middle is no answer.
  const bytes = await answer.arrayBuffer();
  const told = new Headers(answer.headers);
  for (const name of [...hopHeaders, "content-encoding", "content-length"]) told.delete(name);
  return new Response(method === "HEAD" ? null : bytes, { status: answer.status, headers: told });
}
