// A group of edges that mask, without any wire between them: what tests of the protocol share.
import { generateKeyPairSync, sign } from "node:crypto";
import type { MaskKeys, MaskSecrets } from "../../../proto/gen/isthmus/v1/secagg_pb.ts";
import { type RandomBytes, seededBytes } from "../../../runtime/random.ts";
import type { SigningKey } from "../../../sync/delta/signing-key.ts";
import { addWords } from "../../../sync/secagg/fixed-point.ts";
import { MaskGraph } from "../../../sync/secagg/mask-graph.ts";
import {
  enterMasking,
  maskWords,
  openShares,
  receiveShares,
  shareSecrets,
} from "../../../sync/secagg/masking-party.ts";
import type { Unmasking } from "../../../sync/secagg/unmasking.ts";

export const place = { campaign: "demo-1", round: 3, region: "eu" };

export function seededSource(seed: number): RandomBytes {
  const bytes = Buffer.alloc(32);
  bytes.writeUInt32LE(seed >>> 0);
  return seededBytes(bytes);
}

export function signingKey(): SigningKey {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const { x } = publicKey.export({ format: "jwk" });
  return {
    publicKey: Uint8Array.from(Buffer.from(x!, "base64url")),
    sign: (message) => Uint8Array.from(sign(null, message, privateKey)),
  };
}

export interface GroupPlan {
  readonly edges: readonly string[];
  readonly seed: number;
  /** Gone before their secrets were shared. */
  readonly unshared?: readonly string[];
  /** Gone after masks were agreed. */
  readonly dropped?: readonly string[];
  /** Included, but gone when shares are to be opened. */
  readonly silent?: readonly string[];
}

export interface Group {
  readonly members: readonly MaskKeys[];
  readonly secrets: ReadonlyMap<string, MaskSecrets>;
  readonly unmasking: Unmasking;
  /** The masked sum of what the included hand in. */
  readonly masked: (wordsOf: (edge: string) => Uint32Array) => Uint32Array;
}

const key = signingKey();

/** Keys of each edge, and a roster of all. */
export function enter(edges: readonly string[], seed: number) {
  const random = seededSource(seed);
  const secrets = new Map(
    edges.map((edge) => [edge, enterMasking({ ...place, edge }, key, random)]),
  );
  const members = [...secrets.values()].map(({ keys }) => keys!);
  return { secrets, members, random };
}

/** Runs the protocol up to the opened shares. */
export function runGroup(plan: GroupPlan): Group {
  const { unshared = [], dropped = [], silent = [] } = plan;
  const { secrets, members, random } = enter(plan.edges, plan.seed);
  const graph = new MaskGraph(members);
  const sharing = plan.edges.filter((edge) => !unshared.includes(edge));
  for (const edge of sharing) {
    secrets.set(edge, shareSecrets(secrets.get(edge)!, members, random));
  }
  const sent = sharing.flatMap((edge) => secrets.get(edge)!.shares!.shares);
  for (const edge of sharing) {
    const inbox = sent.filter(({ to }) => to === edge);
    secrets.set(edge, receiveShares(secrets.get(edge)!, inbox));
  }
  const included = sharing.filter((edge) => !dropped.includes(edge)).sort();
  const answering = included.filter((edge) => !silent.includes(edge));
  const unmasking: Unmasking = {
    graph,
    included,
    keys: new Map(sharing.map((edge) => [edge, secrets.get(edge)!.keys!])),
    commitments: new Map(sharing.map((edge) => [edge, secrets.get(edge)!.shares!.selfCommitment])),
    opened: new Map(
      answering.map((edge) => [edge, openShares(secrets.get(edge)!, included).shares]),
    ),
  };
  const masked = (wordsOf: (edge: string) => Uint32Array) => {
    let sum: Uint32Array | null = null;
    for (const edge of included) {
      const words = Uint32Array.from(wordsOf(edge));
      maskWords(secrets.get(edge)!, words);
      sum ??= new Uint32Array(words.length);
      addWords(sum, words);
    }
    return sum!;
  };
  return { members, secrets, unmasking, masked };
}
