// The keys with which an edge enters a round's masking, and the names under which pairs of edges
// derive their secrets from them.
import { clone, create, toBinary } from "@bufbuild/protobuf";
import { type MaskKeys, MaskKeysSchema } from "../../proto/gen/isthmus/v1/secagg_pb.ts";
import { isSignedBy, type SigningKey } from "../delta/signing-key.ts";
import { KEY_BYTES } from "./key-agreement.ts";

/** One edge in one round. */
export interface MaskIdentity {
  readonly campaign: string;
  readonly round: number;
  readonly region: string;
  readonly edge: string;
}

export interface PublicMaskKeys {
  readonly channelKey: Uint8Array;
  readonly maskKey: Uint8Array;
}

export function signMaskKeys(
  identity: MaskIdentity,
  { channelKey, maskKey }: PublicMaskKeys,
  key: SigningKey,
): MaskKeys {
  const { campaign, round, region, edge } = identity;
  const fields = { campaign, round, region, edge, channelKey, maskKey };
  const keys = create(MaskKeysSchema, { ...fields, publicKey: key.publicKey });
  keys.signature = key.sign(signedBytes(keys));
  return keys;
}

/** What is wrong with keys that are meant for a round; null when nothing is. */
export function faultOfKeys(
  keys: MaskKeys,
  { campaign, round, region }: Omit<MaskIdentity, "edge">,
): string | null {
  if (keys.campaign !== campaign || keys.round !== round || keys.region !== region) {
    return "the keys are of another round";
  }
  if (keys.channelKey.length !== KEY_BYTES || keys.maskKey.length !== KEY_BYTES) {
    return "the keys have the wrong length";
  }
  return isSignedBy(keys.publicKey, signedBytes(keys), keys.signature)
    ? null
    : "the signature of the keys doesn't verify";
}

/** The purpose of the secret that masks a pair; the same seen from either side. */
export function maskPurpose(keys: MaskIdentity, other: string): string {
  const [first, second] = [keys.edge, other].sort();
  return `isthmus mask ${placeOf(keys)} ${first} ${second}`;
}

export function channelPurpose(keys: MaskIdentity, other: string): string {
  const [first, second] = [keys.edge, other].sort();
  return `isthmus channel ${placeOf(keys)} ${first} ${second}`;
}

/** What a box is about, which can't be swapped. */
export function boxPurpose(keys: Omit<MaskIdentity, "edge">, from: string, to: string): string {
  return `isthmus share ${placeOf(keys)} ${from} to ${to}`;
}

/** Of a pair, the one whose name comes first adds the mask and the other subtracts it. */
export function maskSign(edge: string, other: string): 1 | -1 {
  return edge < other ? 1 : -1;
}

function placeOf({ campaign, round, region }: Omit<MaskIdentity, "edge">): string {
  return `${campaign}/${round}/${region}`;
}

function signedBytes(keys: MaskKeys): Uint8Array {
  const unsigned = clone(MaskKeysSchema, keys);
  unsigned.signature = new Uint8Array();
  return toBinary(MaskKeysSchema, unsigned, { writeUnknownFields: false });
}
