/** The kinds of keys that certificates hold and are signed with: all that differs between them, in one row each. */
import type { KeyObject } from "node:crypto";
import { AppError } from "../core/error.ts";
import { NULL, sequence } from "./der-writer.ts";
import { KEY_USAGE } from "./extensions.ts";
import { type ObjectId, OID } from "./oids.ts";

export interface SignatureAlgorithm {
  /** The whole AlgorithmIdentifier, the one way in which it is written. */
  readonly identifier: Uint8Array;
  /** null where the algorithm hashes by itself. */
  readonly hash: "sha256" | "sha384" | "sha512" | null;
  /** `asymmetricKeyType` of the keys that make it. */
  readonly keyType: "ec" | "rsa" | "ed25519";
}

/** RFC 5758 §3.2: no parameters. */
function ecdsa(id: ObjectId, hash: "sha256" | "sha384" | "sha512"): SignatureAlgorithm {
  return { identifier: sequence(id.der), hash, keyType: "ec" };
}

/** RFC 4055 §5: the parameters are NULL. */
function rsa(id: ObjectId, hash: "sha256" | "sha384" | "sha512"): SignatureAlgorithm {
  return { identifier: sequence(id.der, NULL), hash, keyType: "rsa" };
}

const ECDSA_SHA256 = ecdsa(OID.ecdsaWithSha256, "sha256");
const ECDSA_SHA384 = ecdsa(OID.ecdsaWithSha384, "sha384");
const RSA_SHA256 = rsa(OID.sha256WithRsa, "sha256");
/** RFC 8410 §3: no parameters. */
const ED25519: SignatureAlgorithm = { identifier: sequence(OID.ed25519.der), hash: null, keyType: "ed25519" };

/** What a signature may be made with. ECDSA with SHA-256 comes first: nearly all are. */
export const SIGNATURE_ALGORITHMS: readonly SignatureAlgorithm[] = [
  ECDSA_SHA256,
  ECDSA_SHA384,
  ecdsa(OID.ecdsaWithSha512, "sha512"),
  RSA_SHA256,
  rsa(OID.sha384WithRsa, "sha384"),
  rsa(OID.sha512WithRsa, "sha512"),
  ED25519,
];

export interface KeyKind {
  readonly name: "P-256" | "P-384" | "RSA" | "Ed25519";
  /** What its private key signs with. */
  readonly signature: SignatureAlgorithm;
  /**
   * Key usage of a leaf; RSA keys encipher as well (RFC 5280 §4.2.1.3; Istio sets it too). undefined where there is no leaf of this kind:
   * Envoy takes no Ed25519 certificate from its peers, as BoringSSL does not offer the algorithm in handshakes.
   */
  readonly leafUsage: number | undefined;
}

const { digitalSignature, keyEncipherment } = KEY_USAGE;

export const KEY_KINDS = {
  p256: { name: "P-256", signature: ECDSA_SHA256, leafUsage: digitalSignature },
  p384: { name: "P-384", signature: ECDSA_SHA384, leafUsage: digitalSignature },
  rsa: { name: "RSA", signature: RSA_SHA256, leafUsage: digitalSignature | keyEncipherment },
  ed25519: { name: "Ed25519", signature: ED25519, leafUsage: undefined },
} as const satisfies Record<string, KeyKind>;

const ACCEPTED_KEYS = "P-256, P-384, RSA of 2048 to 4096 bits and Ed25519";

/** What a private key signs with. Throws `invalid-argument` for a kind that does not sign here. */
export function signatureAlgorithmOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): SignatureAlgorithm {
  if (asymmetricKeyType === "rsa") return RSA_SHA256;
  if (asymmetricKeyType === "ed25519") return ED25519;
  const curve = asymmetricKeyDetails?.namedCurve;
  if (curve === "prime256v1") return ECDSA_SHA256;
  if (curve === "secp384r1") return ECDSA_SHA384;
  throw unsupportedKey(curve ?? asymmetricKeyType ?? "not a signing key");
}

/** The refusal of a key by what it is, such as `P-224`. */
export function unsupportedKey(what: string): AppError {
  return new AppError("invalid-argument", `the public key is ${what}; accepted are ${ACCEPTED_KEYS}`, {
    help: "make an ECDSA key on the curve P-256",
  });
}
