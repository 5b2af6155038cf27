// Who could be invited to a round now: the ready edges that hold its model, whether they show the
// key that is pinned for their name, and what they did in the rounds before.
import type { Candidate } from "./invitation.ts";
import type { KeyPins } from "./key-pins.ts";
import { standingsOf } from "./participation.ts";
import type { RoundState } from "./round-state.ts";

/** An edge that is ready to be invited, as membership sees it. */
export interface RoundMember {
  readonly edge: string;
  /** Models that it holds. */
  readonly models: readonly string[];
  /** Raw Ed25519 key of its heartbeat; empty when it sent none. */
  readonly publicKey: Uint8Array;
}

/** `past` are the rounds that the region remembers. */
export async function candidatesOf(
  model: string,
  members: readonly RoundMember[],
  past: readonly RoundState[],
  pins: KeyPins,
): Promise<readonly Candidate[]> {
  const standings = standingsOf(past, model);
  const ready = members.filter(({ models }) => models.includes(model));
  return await Promise.all(
    ready.map(async ({ edge, publicKey }) => {
      const standing = standings.get(edge);
      return {
        edge,
        keyMatches: publicKey.length === 0 || (await pins.pin(edge, publicKey)),
        ...(standing === undefined ? {} : { standing }),
      };
    }),
  );
}
