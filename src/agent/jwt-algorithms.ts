/** The algorithms of JWT-SVIDs (SPIFFE JWT-SVID §2.1): what each one asks of its key, and how it verifies. Never a symmetric one, and never none. */
import { constants, type KeyObject, type SignKeyObjectInput, verify } from "node:crypto";

export interface JwtAlgorithm {
  /** Whether it is an algorithm of this key. */
  readonly fits: (key: KeyObject) => boolean;
  readonly verify: (signed: Buffer, key: KeyObject, signature: Buffer) => boolean;
}

type Bits = 256 | 384 | 512;

/** RFC 7518 §3.3, §3.5: 2048 bits at least. More than 8192 would only cost time. */
const [LEAST_RSA_BITS, MOST_RSA_BITS] = [2_048, 8_192] as const;

function isRsa({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): boolean {
  const { modulusLength = 0 } = asymmetricKeyDetails ?? {};
  return asymmetricKeyType === "rsa" && modulusLength >= LEAST_RSA_BITS && modulusLength <= MOST_RSA_BITS;
}

const verifier =
  (bits: Bits, input: Omit<SignKeyObjectInput, "key">): JwtAlgorithm["verify"] =>
  (signed, key, signature) =>
    verify(`sha${bits}`, signed, { key, ...input }, signature);

/** RFC 7518 §3.3. */
const rsa = (bits: Bits): JwtAlgorithm => ({ fits: isRsa, verify: verifier(bits, { padding: constants.RSA_PKCS1_PADDING }) });

/** RFC 7518 §3.5: the salt is as long as the hash. */
const pss = (bits: Bits): JwtAlgorithm => ({
  fits: isRsa,
  verify: verifier(bits, { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }),
});

/** RFC 7518 §3.4: each has one curve. */
const ec = (bits: Bits, namedCurve: string): JwtAlgorithm => ({
  fits: ({ asymmetricKeyType, asymmetricKeyDetails }) => asymmetricKeyType === "ec" && asymmetricKeyDetails?.namedCurve === namedCurve,
  verify: verifier(bits, { dsaEncoding: "ieee-p1363" }),
});

const ALGORITHMS: ReadonlyMap<string, JwtAlgorithm> = new Map([
  ["RS256", rsa(256)],
  ["RS384", rsa(384)],
  ["RS512", rsa(512)],
  ["PS256", pss(256)],
  ["PS384", pss(384)],
  ["PS512", pss(512)],
  ["ES256", ec(256, "prime256v1")],
  ["ES384", ec(384, "secp384r1")],
  ["ES512", ec(512, "secp521r1")],
]);

/** The algorithm of a token's header; undefined for what no JWT-SVID may be signed with. */
export function jwtAlgorithm(name: unknown): JwtAlgorithm | undefined {
  return typeof name === "string" ? ALGORITHMS.get(name) : undefined;
}

/** Whether any of them is an algorithm of this key. */
export function isJwtKey(key: KeyObject): boolean {
  return ALGORITHMS.values().some(({ fits }) => fits(key));
}
