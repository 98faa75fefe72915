/** RSA public keys (RFC 8017 §A.1.1), and which of them are worth a certificate. */
import { DerReader, TAG } from "./der-reader.ts";
import { unsupportedKey } from "./key-kinds.ts";

const MIN_BITS = 2048;
const MAX_BITS = 4096;
/** NIST SP 800-56B §6.2 asks for more than 2^16; other verifiers take no more than 31 bits. */
const MIN_EXPONENT = 65_537;
const MAX_EXPONENT = 2 ** 31 - 1;
const MAX_SMALL_PRIME = 751;

/** The product of the odd primes up to 751: a modulus that shares a factor with it was made by a broken generator. */
const SMALL_PRIMES: bigint = (() => {
  let product = 1n;
  for (let candidate = 3; candidate <= MAX_SMALL_PRIME; candidate += 2) {
    let divisor = 3;
    while (divisor * divisor <= candidate && candidate % divisor !== 0) divisor += 2;
    if (divisor * divisor > candidate) product *= BigInt(candidate);
  }
  return product;
})();

function gcd(a: bigint, b: bigint): bigint {
  return b === 0n ? a : gcd(b, a % b);
}

function unsigned(content: Uint8Array): bigint {
  const negative = (content[0] ?? 0) >= 0x80;
  return negative ? -1n : BigInt(`0x${Buffer.from(content).toString("hex")}`);
}

/** `key` is the content of the public key's bit string. Throws `invalid-argument` for a modulus or an exponent that is weak or odd. */
export function checkRsaKey(key: Uint8Array): void {
  const fields = new DerReader(key, "RSA key").enter(TAG.sequence);
  const modulus = unsigned(fields.content(TAG.integer));
  const exponent = unsigned(fields.content(TAG.integer));
  fields.finish();
  const bits = modulus.toString(2).length;
  if (modulus < 0n || bits < MIN_BITS || bits > MAX_BITS) throw unsupportedKey(`RSA of ${modulus < 0n ? 0 : bits} bits`);
  if (exponent < MIN_EXPONENT || exponent > MAX_EXPONENT || exponent % 2n === 0n)
    throw unsupportedKey(`RSA with an exponent that is not an odd number from ${MIN_EXPONENT} to ${MAX_EXPONENT}`);
  if (modulus % 2n === 0n || gcd(modulus, SMALL_PRIMES) !== 1n) throw unsupportedKey("RSA with a modulus that has a small factor");
}
