/**
 * JSON Web Key Sets (RFC 7517), reduced to what verifies signatures: public keys of the algorithms that every engine
 * has. All engines get the keys that come out of here and no others, so that they agree on each token.
 */
import { AppError } from "../core/error.ts";

/** A public key; only the members that verification needs. Survives JSON. */
export type PublicJwk = { readonly kid?: string; readonly alg?: string } & (
  | { readonly kty: "RSA"; readonly n: string; readonly e: string }
  | { readonly kty: "EC"; readonly crv: "P-256" | "P-384" | "P-521"; readonly x: string; readonly y: string }
  | { readonly kty: "OKP"; readonly crv: "Ed25519"; readonly x: string }
);

export interface ReadJwks {
  readonly keys: readonly PublicJwk[];
  /** What was left out, in words, without any of the key's material. */
  readonly dropped: readonly string[];
}

const MAX_KEYS = 100;
const MAX_NAME = 256;
const RSA_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] as const;

/** Each curve with its algorithm (RFC 7518 §3.4) and the length of a coordinate in base64url. */
const CURVES = {
  "P-256": { algorithm: "ES256", length: 43 },
  "P-384": { algorithm: "ES384", length: 64 },
  "P-521": { algorithm: "ES512", length: 88 },
} as const;

/** The algorithms that a key may verify. Never HMAC: its key is a secret, and a published one would sign for anybody. */
export function algorithmsOf(key: PublicJwk): readonly string[] {
  const possible = key.kty === "RSA" ? RSA_ALGORITHMS : key.kty === "EC" ? [CURVES[key.crv].algorithm] : ["EdDSA"];
  return key.alg === undefined ? possible : possible.filter((algorithm) => algorithm === key.alg);
}

type Members = Readonly<Record<string, unknown>>;

function isMembers(value: unknown): value is Members {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Base64url (RFC 4648 §5) of a length within bounds. */
function isEncoded(value: unknown, least: number, most: number): value is string {
  return typeof value === "string" && value.length >= least && value.length <= most && /^[A-Za-z0-9_-]+$/.test(value);
}

/** From 2048 bits: below that, signatures can be forged; to 8192 bits: above that, verifying them is an attack. */
function isRsa({ n, e }: Members): boolean {
  return isEncoded(n, 342, 1368) && isEncoded(e, 1, 8);
}

function materialOf(members: Members): PublicJwk | undefined {
  const { kty, crv, n, e, x, y } = members;
  if (kty === "RSA" && isRsa(members)) return { kty, n: String(n), e: String(e) };
  if (kty === "EC" && (crv === "P-256" || crv === "P-384" || crv === "P-521")) {
    const { length } = CURVES[crv];
    return isEncoded(x, length, length) && isEncoded(y, length, length) ? { kty, crv, x, y } : undefined;
  }
  return kty === "OKP" && crv === "Ed25519" && isEncoded(x, 43, 43) ? { kty, crv, x } : undefined;
}

function isName(value: unknown): value is string | undefined {
  return value === undefined || (typeof value === "string" && value.length <= MAX_NAME);
}

/** A public key, or why the entry is none. */
function readKey(members: Members): PublicJwk | string {
  const { kid, alg, use, key_ops: operations } = members;
  if (members.kty === "oct" || "k" in members) return "is symmetric, and so a secret";
  if ("d" in members) return "contains its private half: whoever reads the set can sign with it, so replace the key";
  if (use !== undefined && use !== "sig") return "is not for signatures";
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes("verify"))) return "is not for verifying";
  if (!isName(kid) || !isName(alg)) return "has a `kid` or `alg` that is not a short text";
  const material = materialOf(members);
  if (material === undefined) return "is not RSA of 2048 to 8192 bits, EC on P-256, P-384 or P-521, or Ed25519";
  const named = { ...(kid === undefined || kid === "" ? {} : { kid }), ...material };
  const fitting = algorithmsOf(named).filter((algorithm) => alg === undefined || alg === "" || algorithm === alg);
  const [only] = fitting;
  if (only === undefined) return "has an `alg` that does not fit its type";
  // Where only one is possible it is written down: an engine that finds none goes by what the token says.
  return fitting.length === 1 ? { ...named, alg: only } : named;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * The public keys of a set. Entries that are none are left out and told of; a text that is no set throws
 * `invalid-argument` without quoting it, since it may hold secrets.
 */
export function readJwks(text: string): ReadJwks {
  const set = parse(text);
  const help = 'a JSON Web Key Set is an object with a list of keys: `{"keys": […]}` (RFC 7517 §5)';
  if (!isMembers(set) || !Array.isArray(set.keys)) throw new AppError("invalid-argument", "this is not a JSON Web Key Set", { help });
  if (set.keys.length > MAX_KEYS) throw new AppError("invalid-argument", `the key set has more than ${MAX_KEYS} keys`);
  const read = set.keys.map((entry: unknown, index) => ({ index, key: isMembers(entry) ? readKey(entry) : "is not an object" }));
  return {
    keys: read.flatMap(({ key }) => (typeof key === "string" ? [] : [key])),
    dropped: read.flatMap(({ index, key }) => (typeof key === "string" ? [`keys[${index}] ${key}`] : [])),
  };
}
