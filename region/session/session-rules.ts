// The bounds of sessions, their keys, and what a session told by another region must look like
// before anything believes it.
import { createHash } from "node:crypto";
import { fromBinary } from "@bufbuild/protobuf";
import { type Session, SessionSchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import { namePattern } from "../../proto/ids.ts";
import { sessionPattern, tenantPattern } from "../../runtime/frontend/request-rules.ts";

/** Of a whole session as it is stored; NATS carries at most 1 MB. */
export const SESSION_BYTES_MAX = 256 << 10;
/** What must be left of it for an answer when a turn begins. */
export const ANSWER_BYTES_MIN = 16 << 10;

/** Tells one caller's conversation from another's. */
export interface SessionName {
  readonly id: string;
  readonly tenant: string;
}

/** A session's name as a key of the bucket: no tenant can name another's by any spelling. */
export function sessionKey({ id, tenant }: SessionName): string {
  return createHash("sha256").update(`${tenant}\n${id}`).digest("hex");
}

/** The session, or why it can't be one. */
export function readSession(body: Uint8Array): Session | string {
  if (body.byteLength > SESSION_BYTES_MAX) return `longer than ${SESSION_BYTES_MAX} bytes`;
  let session: Session;
  try {
    session = fromBinary(SessionSchema, body);
  } catch {
    return "not a Session";
  }
  if (!sessionPattern.test(session.id)) return "no session id";
  if (session.tenant !== "" && !tenantPattern.test(session.tenant)) return "no tenant";
  if (!namePattern.test(session.region)) return "no region name";
  if (session.revision === 0n) return "no revision";
  return session;
}
