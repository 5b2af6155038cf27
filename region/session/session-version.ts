// Which of two versions of a session holds. Every region that sees both decides alike, in whatever
// order they come: the one with more turns, then the later one, then by the name of its region.
import { toBinary } from "@bufbuild/protobuf";
import { type Session, SessionSchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import { beginsWith } from "./conversation.ts";

/** How two regions came apart: both wrote the same turn, or each went on by itself. */
export type SessionConflict = "same-turn" | "diverged";

export function heldVersion(one: Session, other: Session): Session {
  return order(one, other) >= 0 ? one : other;
}

/** Whether a version is the same as, or newer than, one of which only its head is known. */
export function isAsNew(version: Session, head: Session): boolean {
  return byHead(version, head) >= 0;
}

/** What is lost by holding one version and leaving the other; null when the one contains it. */
export function conflictOf(held: Session, left: Session): SessionConflict | null {
  if (held.deleted) return null; // that nothing is left is what was asked for
  if (!left.deleted && isSameConversation(held, left)) return null;
  if (held.revision === left.revision) return "same-turn";
  return left.deleted || beginsWith(held.messages, left.messages) ? null : "diverged";
}

/** Whether the two say the same, whenever and wherever they were written. */
export function isSameConversation(one: Session, other: Session): boolean {
  const { messages } = one;
  return messages.length === other.messages.length && beginsWith(messages, other.messages);
}

function order(one: Session, other: Session): number {
  const bytes = (session: Session) => toBinary(SessionSchema, session);
  return byHead(one, other) || Buffer.compare(bytes(one), bytes(other));
}

function byHead(one: Session, other: Session): number {
  return (
    compare(one.revision, other.revision) ||
    compare(one.updatedMs, other.updatedMs) ||
    compare(one.region, other.region)
  );
}

function compare<T extends bigint | string>(one: T, other: T): number {
  return one === other ? 0 : one > other ? 1 : -1;
}
