// The edge's side of secure aggregation: a pure function of its secrets and what it is told. It
// trusts the region to carry messages, and checks whatever could make it give its delta away.
// Source: Bonawitz et al., "Practical secure aggregation for privacy-preserving machine learning",
// CCS 2017, figure 4; without the consistency round: see MaskGraph.threshold.
import { createHash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { Fault } from "../../proto/fault.ts";
import {
  type HeldShare,
  HeldShareSchema,
  type MaskKeys,
  MaskRosterSchema,
  type MaskSecrets,
  MaskSecretsSchema,
  MaskSharesSchema,
  OpenedShareSchema,
  type SealedShare,
  SealedShareSchema,
  UnmaskRequestSchema,
  type UnmaskShares,
  UnmaskSharesSchema,
} from "../../proto/gen/isthmus/v1/secagg_pb.ts";
import type { RandomBytes } from "../../runtime/random.ts";
import type { SigningKey } from "../delta/signing-key.ts";
import { agreeOn, KEY_BYTES, makeKeyPair, seal, unseal } from "./key-agreement.ts";
import { MaskGraph, MEMBERS_MIN } from "./mask-graph.ts";
import {
  boxPurpose,
  channelPurpose,
  faultOfKeys,
  type MaskIdentity,
  maskPurpose,
  maskSign,
  signMaskKeys,
} from "./mask-keys.ts";
import { addMask } from "./mask-stream.ts";
import { type SecretShare, splitSecret } from "./secret-sharing.ts";

/** Fresh keys and secrets for one round. They must be durable before anybody is told of them. */
export function enterMasking(
  identity: MaskIdentity,
  key: SigningKey,
  random: RandomBytes,
): MaskSecrets {
  const channel = makeKeyPair(random);
  const mask = makeKeyPair(random);
  const publicKeys = { channelKey: channel.publicKey, maskKey: mask.publicKey };
  return create(MaskSecretsSchema, {
    keys: signMaskKeys(identity, publicKeys, key),
    channelPrivate: channel.privateKey,
    maskPrivate: mask.privateKey,
    selfSeed: random(KEY_BYTES),
  });
}

/**
 * Shares the secrets among the neighbours of the roster; told again, it shares them no further.
 * Faults: `invalid-argument` for a roster that would not keep the delta secret.
 */
export function shareSecrets(
  secrets: MaskSecrets,
  members: readonly MaskKeys[],
  random: RandomBytes,
): MaskSecrets {
  if (secrets.roster) return secrets;
  const own = secrets.keys!;
  const graph = checkedGraph(own, members);
  const holders = graph.holders(own.edge);
  const split = { count: holders.length, threshold: graph.threshold(own.edge) };
  const selfShares = splitSecret(secrets.selfSeed, split, random);
  const keyShares = splitSecret(secrets.maskPrivate, split, random);
  const sealed: SealedShare[] = [];
  const held: HeldShare[] = [];
  for (const [i, to] of holders.entries()) {
    const pair = { self: selfShares[i]!, maskKey: keyShares[i]! };
    if (to === own.edge) {
      held.push(heldShare(own.edge, pair.self, pair.maskKey.bytes));
      continue;
    }
    const receiver = members.find(({ edge }) => edge === to)!;
    const channel = agreeOn(channelPurpose(own, to), secrets.channelPrivate, receiver.channelKey);
    const message = Uint8Array.of(pair.self.at, ...pair.self.bytes, ...pair.maskKey.bytes);
    const box = seal(channel, boxPurpose(own, own.edge, to), message, random);
    sealed.push(create(SealedShareSchema, { from: own.edge, to, box }));
  }
  const selfCommitment = commitmentOf(secrets.selfSeed);
  return create(MaskSecretsSchema, {
    ...secrets,
    roster: create(MaskRosterSchema, { members: [...members] }),
    shares: create(MaskSharesSchema, { shares: sealed, selfCommitment }),
    held,
  });
}

/**
 * Takes the shares of those whom masks are agreed with; told again, it changes nothing.
 * Faults: `failed-precondition` before the secrets are shared, `invalid-argument` for boxes that
 * can't be opened, or too few of them to ever unmask.
 */
export function receiveShares(secrets: MaskSecrets, inbox: readonly SealedShare[]): MaskSecrets {
  if (isAgreed(secrets)) return secrets;
  const own = secrets.keys!;
  const { members, graph } = rosterOf(secrets);
  const neighbours = new Set(graph.neighbours(own.edge));
  const held = new Map(secrets.held.map((share) => [share.of, share]));
  for (const { from, to, box } of inbox) {
    const sender = members.find(({ edge }) => edge === from);
    if (!sender || !neighbours.has(from) || to !== own.edge || held.has(from)) {
      throw new Fault("invalid-argument", `a share of ${from} for ${to} does not belong here`);
    }
    const channel = agreeOn(channelPurpose(own, from), secrets.channelPrivate, sender.channelKey);
    const message = unseal(channel, boxPurpose(own, from, own.edge), box);
    const place = graph.holders(from).indexOf(own.edge) + 1;
    if (message.length !== 1 + 2 * KEY_BYTES || message[0] !== place) {
      throw new Fault("invalid-argument", `the share of ${from} is malformed`);
    }
    const self = { at: place, bytes: message.subarray(1, 1 + KEY_BYTES) };
    held.set(from, heldShare(from, self, message.subarray(1 + KEY_BYTES)));
  }
  const needed = graph.threshold(own.edge);
  if (held.size < needed) {
    throw new Fault("invalid-argument", `${held.size} edges agree on masks, ${needed} are needed`);
  }
  return create(MaskSecretsSchema, { ...secrets, held: [...held.values()] });
}

/** Whether masks are agreed, so that a delta can be masked. */
export function isAgreed({ held }: MaskSecrets): boolean {
  return held.length > 1;
}

/** words += own mask ± each pair's. Faults: `failed-precondition` before the agreement. */
export function maskWords(secrets: MaskSecrets, words: Uint32Array): void {
  if (!isAgreed(secrets)) throw new Fault("failed-precondition", "no masks are agreed");
  const own = secrets.keys!;
  const { members } = rosterOf(secrets);
  addMask(words, secrets.selfSeed, 1);
  for (const { of: other } of secrets.held) {
    if (other === own.edge) continue;
    const { maskKey } = members.find(({ edge }) => edge === other)!;
    const seed = agreeOn(maskPurpose(own, other), secrets.maskPrivate, maskKey);
    addMask(words, seed, maskSign(own.edge, other));
  }
}

/**
 * Opens shares: of the own masks of those who are included, of the mask keys of those who aren't.
 * Never both of one edge: that would bare its delta, so there is one answer, for one list.
 * Faults: `conflict` for another list than before, `invalid-argument` for one that is too short.
 */
export function openShares(
  secrets: MaskSecrets,
  included: readonly string[],
): { readonly secrets: MaskSecrets; readonly shares: UnmaskShares } {
  if (!isAgreed(secrets)) throw new Fault("failed-precondition", "no masks are agreed");
  const { graph } = rosterOf(secrets);
  const wanted = [...new Set(included)].sort();
  const before = secrets.answered?.included;
  if (before && before.join() !== wanted.join()) {
    throw new Fault("conflict", "shares were opened for another list of edges");
  }
  const own = secrets.keys!.edge;
  const count = wanted.filter((edge) => secrets.held.some((share) => share.of === edge)).length;
  const needed = Math.max(graph.threshold(own), MEMBERS_MIN);
  if (count < needed || !wanted.includes(own)) {
    const message = `${count} edges of this group are included, ${needed} are needed`;
    throw new Fault("invalid-argument", message);
  }
  const isIncluded = (share: HeldShare) => wanted.includes(share.of);
  const shares = create(UnmaskSharesSchema, {
    self: secrets.held.filter(isIncluded).map(({ of: edge, self }) => {
      return create(OpenedShareSchema, { of: edge, share: self });
    }),
    maskKey: secrets.held
      .filter((share) => !isIncluded(share))
      .map(({ of: edge, maskKey }) => create(OpenedShareSchema, { of: edge, share: maskKey })),
  });
  const answered = create(UnmaskRequestSchema, { included: wanted });
  return { secrets: create(MaskSecretsSchema, { ...secrets, answered }), shares };
}

/** What an edge says of its own mask's seed beforehand. */
export function commitmentOf(selfSeed: Uint8Array): Uint8Array {
  return Uint8Array.from(createHash("sha256").update(selfSeed).digest());
}

function checkedGraph(own: MaskKeys, members: readonly MaskKeys[]): MaskGraph {
  for (const keys of members) {
    const fault = faultOfKeys(keys, own);
    if (fault) throw new Fault("invalid-argument", `${keys.edge}: ${fault}`);
  }
  const mine = members.find(({ edge }) => edge === own.edge);
  if (!mine || !Buffer.from(mine.maskKey).equals(own.maskKey)) {
    throw new Fault("invalid-argument", "the roster has other keys of this edge");
  }
  return new MaskGraph(members);
}

function rosterOf({ roster }: MaskSecrets) {
  if (!roster) throw new Fault("failed-precondition", "the secrets are not shared yet");
  return { members: roster.members, graph: new MaskGraph(roster.members) };
}

function heldShare(of: string, self: SecretShare, maskKey: Uint8Array): HeldShare {
  return create(HeldShareSchema, { of, at: self.at, self: self.bytes, maskKey });
}
