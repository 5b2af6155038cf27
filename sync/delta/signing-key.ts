// The Ed25519 key with which an edge signs its deltas: made once, kept in one file, never sent.
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from "node:crypto";
import { chmodSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { createFile, makeFolder } from "./durable-file.ts";

const OWNER_ONLY = 0o600;
export const PUBLIC_KEY_BYTES = 32;
export const SIGNATURE_BYTES = 64;

export interface SigningKey {
  /** Raw, 32 bytes: what heartbeats and manifests carry. */
  readonly publicKey: Uint8Array;
  sign(message: Uint8Array): Uint8Array;
}

/** Opens the key in a file, or makes it there: durable before it is first used. */
export function openSigningKey(path: string): SigningKey {
  makeFolder(dirname(path));
  const found = readKey(path);
  if (found) return signingKey(found);
  const { privateKey } = generateKeyPairSync("ed25519");
  createFile(path, Buffer.from(privateKey.export({ type: "pkcs8", format: "pem" })));
  // Read back: another process may have been first, and then its key is the one.
  const created = readKey(path);
  if (!created) throw new Error(`the signing key ${path} vanished while it was made`);
  return signingKey(created);
}

/** Whether the holder of a raw public key signed the message; false for anything malformed. */
export function isSignedBy(
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  if (publicKey.length !== PUBLIC_KEY_BYTES || signature.length !== SIGNATURE_BYTES) return false;
  const key = createPublicKey({
    key: { kty: "OKP", crv: "Ed25519", x: Buffer.from(publicKey).toString("base64url") },
    format: "jwk",
  });
  return verify(null, message, key, signature);
}

function readKey(path: string): KeyObject | null {
  let pem: Buffer;
  try {
    pem = readFileSync(path);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw thrown;
  }
  chmodSync(path, OWNER_ONLY);
  const key = createPrivateKey(pem);
  if (key.asymmetricKeyType !== "ed25519") {
    throw new Error(`${path} holds a key of type ${key.asymmetricKeyType}, not ed25519`);
  }
  return key;
}

function signingKey(privateKey: KeyObject): SigningKey {
  const jwk = createPublicKey(privateKey).export({ format: "jwk" });
  return {
    publicKey: Uint8Array.from(Buffer.from(jwk.x!, "base64url")),
    sign: (message) => Uint8Array.from(sign(null, message, privateKey)),
  };
}
