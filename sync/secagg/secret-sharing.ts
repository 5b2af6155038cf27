// Shamir's secret sharing, byte by byte in GF(2⁸): any `threshold` shares give the secret back,
// fewer say nothing about it.
// Source: Shamir, "How to share a secret", 1979; the field is that of AES, modulo x⁸+x⁴+x³+x+1.
import { Fault } from "../../proto/fault.ts";
import type { RandomBytes } from "../../runtime/random.ts";

export interface SecretShare {
  /** Where the polynomials were evaluated: 1 to 255. */
  readonly at: number;
  readonly bytes: Uint8Array;
}

export const HOLDERS_MAX = 255;
const FIELD_MODULUS = 0x11b;
const ORDER = 255;

const exponents = new Uint8Array(2 * ORDER);
const logarithms = new Uint8Array(ORDER + 1);
fillTables();

/** Splits a secret into shares at 1 … `count`. Faults: `invalid-argument`. */
export function splitSecret(
  secret: Uint8Array,
  { count, threshold }: { readonly count: number; readonly threshold: number },
  random: RandomBytes,
): readonly SecretShare[] {
  const isSound = threshold >= 1 && threshold <= count && count <= HOLDERS_MAX;
  if (!isSound || !Number.isInteger(threshold) || !Number.isInteger(count)) {
    throw new Fault("invalid-argument", `no secret can be shared ${threshold} of ${count}`);
  }
  // Row k holds the k-th coefficients of all bytes' polynomials; row 0 is the secret.
  const rows = [secret, ...Array.from({ length: threshold - 1 }, () => random(secret.length))];
  return Array.from({ length: count }, (_, i) => {
    const at = i + 1;
    const bytes = new Uint8Array(secret.length);
    for (const row of [...rows].reverse()) {
      for (let j = 0; j < bytes.length; j++) bytes[j] = multiply(bytes[j]!, at) ^ row[j]!;
    }
    return { at, bytes };
  });
}

/** Puts a secret together from shares; with fewer than were needed it is another one. */
export function joinSecret(shares: readonly SecretShare[]): Uint8Array {
  const length = shares[0]?.bytes.length ?? 0;
  const places = new Set(shares.map(({ at }) => at));
  const isSound = places.size === shares.length && !places.has(0) && length > 0;
  if (!isSound || shares.some(({ bytes, at }) => bytes.length !== length || at > HOLDERS_MAX)) {
    throw new Fault("invalid-argument", "these shares are not of one secret");
  }
  const secret = new Uint8Array(length);
  for (const { at, bytes } of shares) {
    // Lagrange's basis at 0; minus is plus here.
    let factor = 1;
    for (const { at: other } of shares) {
      if (other !== at) factor = multiply(factor, divide(other, other ^ at));
    }
    for (let j = 0; j < length; j++) secret[j]! ^= multiply(bytes[j]!, factor);
  }
  return secret;
}

function multiply(a: number, b: number): number {
  if (a === 0 || b === 0) return 0;
  return exponents[logarithms[a]! + logarithms[b]!]!;
}

function divide(a: number, b: number): number {
  if (a === 0) return 0;
  return exponents[logarithms[a]! + ORDER - logarithms[b]!]!;
}

/** Powers of 3, which generates the field. */
function fillTables(): void {
  let power = 1;
  for (let k = 0; k < ORDER; k++) {
    exponents[k] = power;
    exponents[k + ORDER] = power;
    logarithms[power] = k;
    power = power ^ (power << 1);
    if (power > 0xff) power ^= FIELD_MODULUS;
  }
}
