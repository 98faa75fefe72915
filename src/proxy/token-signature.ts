/** Signatures of tokens (RFC 7518 §3, RFC 8037 §3.1), by OpenSSL. */
import { constants, createPublicKey, type KeyObject, type VerifyKeyObjectInput, verify } from "node:crypto";
import type { PublicJwk } from "../policy/jwks.ts";
import type { VerifySignature } from "../render/decide/tokens/verify.ts";

/** Imported once; a policy that goes takes its keys with it. Undefined for a key that is on no curve, or the like. */
const imported = new WeakMap<PublicJwk, { readonly key: KeyObject | undefined }>();

function importKey(jwk: PublicJwk): KeyObject | undefined {
  const known = imported.get(jwk);
  if (known !== undefined) return known.key;
  let key: KeyObject | undefined;
  try {
    key = createPublicKey({ key: { ...jwk }, format: "jwk" });
  } catch {
    key = undefined;
  }
  imported.set(jwk, { key });
  return key;
}

function inputOf(key: KeyObject, algorithm: string): VerifyKeyObjectInput {
  if (algorithm.startsWith("ES")) return { key, dsaEncoding: "ieee-p1363" };
  if (!algorithm.startsWith("PS")) return { key };
  return { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
}

/** Verified on the spot: a signature costs no more than a turn through the thread pool. */
export const verifySignature: VerifySignature = ({ algorithm, signed, signature }, jwk) => {
  const key = importKey(jwk);
  if (key === undefined) return false;
  const digest = algorithm === "EdDSA" ? null : `sha${algorithm.slice(2)}`;
  try {
    return verify(digest, Buffer.from(signed, "latin1"), inputOf(key, algorithm), signature);
  } catch {
    return false;
  }
};
