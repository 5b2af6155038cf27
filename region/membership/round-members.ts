// The edges that a federated round may invite.
import { ModelStatus } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { RoundMember } from "../round/round-candidates.ts";
import type { Member } from "./member.ts";

export function roundMembers(members: Iterable<Member>): RoundMember[] {
  return [...members]
    .filter(({ status }) => status === "ready")
    .map(({ edge, heartbeat }) => ({
      edge,
      models: heartbeat.models
        .filter(({ status }) => status === ModelStatus.READY)
        .map(({ model }) => model),
      publicKey: heartbeat.publicKey,
    }));
}
