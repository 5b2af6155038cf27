// Where a session may be kept and its turns served: the rules it was begun under hold for as long
// as it is kept, and a later turn can only narrow them.
import { create } from "@bufbuild/protobuf";
import { Fault } from "../../proto/fault.ts";
import { type Policy, PolicySchema } from "../../proto/gen/isthmus/v1/inference_pb.ts";

/** The policy of a turn. Faults: failed-precondition when the two leave no place at all. */
export function narrowedPolicy(
  kept: Policy | undefined,
  asked: Policy | undefined,
): Policy | undefined {
  if (kept === undefined) return asked;
  return create(PolicySchema, {
    ...(asked ?? create(PolicySchema)),
    regions: both(kept.regions, asked?.regions ?? [], "policy.regions"),
    jurisdictions: both(kept.jurisdictions, asked?.jurisdictions ?? [], "policy.jurisdictions"),
  });
}

/** What both lists allow; an empty one allows everything. */
function both(kept: readonly string[], asked: readonly string[], param: string): string[] {
  if (kept.length === 0) return [...asked];
  if (asked.length === 0) return [...kept];
  const allowed = kept.filter((name) => asked.includes(name));
  if (allowed.length > 0) return allowed;
  const what = `${param} = ${asked.join(", ")}: the session is kept under ${kept.join(", ")}`;
  throw new Fault("failed-precondition", what, { param });
}
