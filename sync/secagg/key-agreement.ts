// What two edges can agree on without anybody else: X25519 keys, secrets derived from a pair of
// them, and boxes that only the other one opens (AES-256-GCM).
import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hkdfSync,
  type KeyObject,
} from "node:crypto";
import { Fault } from "../../proto/fault.ts";
import type { RandomBytes } from "../../runtime/random.ts";

export const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
/** PKCS #8 around a raw X25519 private key (RFC 8410). */
const PRIVATE_KEY_HEAD = Buffer.from("302e020100300506032b656e04220420", "hex");

/** Raw X25519 keys. */
export interface KeyPair {
  readonly privateKey: Uint8Array;
  readonly publicKey: Uint8Array;
}

export function makeKeyPair(random: RandomBytes): KeyPair {
  const privateKey = random(KEY_BYTES);
  return { privateKey, publicKey: publicKeyOf(privateKey) };
}

export function publicKeyOf(privateKey: Uint8Array): Uint8Array {
  const { x } = createPublicKey(privateObject(privateKey)).export({ format: "jwk" });
  return Uint8Array.from(Buffer.from(x!, "base64url"));
}

/**
 * A secret of 32 bytes that the two holders of the keys share, another one for each purpose.
 * Faults: `invalid-argument` for a public key that is none.
 */
export function agreeOn(
  purpose: string,
  privateKey: Uint8Array,
  publicKey: Uint8Array,
): Uint8Array {
  const secret = sharedPoint(privateKey, publicKey);
  return new Uint8Array(hkdfSync("sha256", secret, Buffer.alloc(0), purpose, KEY_BYTES));
}

/** Encrypts for whoever has the key; what it is about can't be swapped afterwards. */
export function seal(
  key: Uint8Array,
  about: string,
  message: Uint8Array,
  random: RandomBytes,
): Uint8Array {
  const nonce = random(NONCE_BYTES);
  const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(Buffer.from(about));
  const parts = [nonce, cipher.update(message), cipher.final()];
  return Uint8Array.from(Buffer.concat([...parts, cipher.getAuthTag()]));
}

/** Faults: `invalid-argument` for a box of another key, about something else, or damaged. */
export function unseal(key: Uint8Array, about: string, box: Uint8Array): Uint8Array {
  const nonce = box.subarray(0, NONCE_BYTES);
  const tag = box.subarray(-TAG_BYTES);
  if (box.length < NONCE_BYTES + TAG_BYTES) throw unopened(about);
  try {
    const decipher = createDecipheriv("aes-256-gcm", key, nonce).setAAD(Buffer.from(about));
    decipher.setAuthTag(tag);
    const body = box.subarray(NONCE_BYTES, -TAG_BYTES);
    return Uint8Array.from(Buffer.concat([decipher.update(body), decipher.final()]));
  } catch (cause) {
    throw unopened(about, cause);
  }
}

function sharedPoint(privateKey: Uint8Array, publicKey: Uint8Array): Uint8Array {
  try {
    const x = Buffer.from(publicKey).toString("base64url");
    const key = createPublicKey({ key: { kty: "OKP", crv: "X25519", x }, format: "jwk" });
    return diffieHellman({ privateKey: privateObject(privateKey), publicKey: key });
  } catch (cause) {
    throw new Fault("invalid-argument", "no agreement is possible with this key", { cause });
  }
}

function privateObject(raw: Uint8Array): KeyObject {
  const key = Buffer.concat([PRIVATE_KEY_HEAD, raw]);
  return createPrivateKey({ key, format: "der", type: "pkcs8" });
}

function unopened(about: string, cause?: unknown): Fault {
  return new Fault("invalid-argument", `the box (${about}) can't be opened`, { cause });
}
