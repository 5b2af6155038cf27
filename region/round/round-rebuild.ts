// Sums a round that is over once more without some edges, from the deltas that are kept of it: what
// the coordinator rebuilds a version with when an edge's part is to be taken out.
import { create } from "@bufbuild/protobuf";
import { Fault } from "../../proto/fault.ts";
import {
  type RebuildReply,
  RebuildReplySchema,
  type RebuildRequest,
} from "../../proto/gen/isthmus/v1/removal_pb.ts";
import { sha256 } from "../../proto/ids.ts";
import { type PartialSources, sumPartial } from "./regional-partial.ts";
import { includedSeats, type RoundState } from "./round-state.ts";

export interface RebuildAddress {
  readonly region: string;
  /** http://host:port that serves the partial. */
  readonly http: string;
}

export interface KeptRoundFiles {
  readonly state: RoundState;
  readonly sources: PartialSources;
}

/** `kept` is undefined where the region no longer has the round. Says why it can't be done. */
export async function rebuildPartial(
  request: RebuildRequest,
  kept: KeptRoundFiles | undefined,
  address: RebuildAddress,
): Promise<RebuildReply> {
  const refuse = (reason: string) => create(RebuildReplySchema, { ...address, reason });
  if (kept === undefined) return refuse("the deltas of this round aren't kept any more");
  const { state, sources } = kept;
  if (state.phase !== "done") return refuse("the round isn't over");
  if (state.offer.secureAggregation) {
    return refuse("its deltas are masked: only the sum of all of them means anything");
  }
  const without = new Set(request.without);
  const left = includedSeats(state).filter(({ edge }) => !without.has(edge));
  // Nothing of the region's part is left: it simply has none.
  if (left.length === 0) return create(RebuildReplySchema, address);
  const lost = left.filter(({ manifest }) => !sources.deltas.has(sha256(manifest!.delta!.sha256)));
  if (lost.length > 0) {
    return refuse(`the deltas of ${lost.map(({ edge }) => edge).join(", ")} are gone`);
  }
  const { adapterState } = request;
  const offer = adapterState === undefined ? state.offer : { ...state.offer, adapterState };
  try {
    const partial = await sumPartial({ ...state, offer }, sources, without);
    return create(RebuildReplySchema, { ...address, partial });
  } catch (thrown) {
    return refuse(thrown instanceof Fault ? thrown.message : `summing failed: ${thrown}`);
  }
}
