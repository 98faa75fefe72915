/** The keys that verify the JWT-SVIDs of a trust domain (SPIFFE Trust Domain and Bundle §4.2), and the check of a token with them. */
import { createPublicKey, type JsonWebKeyInput, type KeyObject } from "node:crypto";
import { AppError } from "../core/error.ts";
import { isSpiffeIdOf } from "../identity/spiffe-id.ts";
import { isJwtKey, type JwtAlgorithm, jwtAlgorithm } from "./jwt-algorithms.ts";

interface JwtKey {
  readonly key: KeyObject;
  /** The one algorithm that it is for, where its domain says so (RFC 7517 §4.4). */
  readonly algorithm: string | undefined;
}

/** By their names. */
export type JwtKeys = ReadonlyMap<string, JwtKey>;

export interface JwtBundle {
  /** As the control plane wrote it. */
  readonly jwks: string;
  readonly keys: JwtKeys;
  /** How long readers may wait before they ask again. */
  readonly refreshMs: number;
}

export interface ValidJwtSvid {
  /** A SPIFFE ID. */
  readonly identity: string;
  readonly claims: Readonly<Record<string, unknown>>;
}

const MAX_KEYS = 64;
const MAX_TOKEN_CHARACTERS = 16 * 1024;
/** Of two machines' clocks. */
const LEEWAY_MS = 10_000;
const MIN_REFRESH_SECONDS = 10;
const MAX_REFRESH_SECONDS = 3_600;
const DEFAULT_REFRESH_SECONDS = 300;
const COMPACT = /^([\w-]+)\.([\w-]+)\.([\w-]+)$/;

type Members = Readonly<Record<string, unknown>>;

function parseObject(text: string): Members | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Members) : undefined;
  } catch {
    return undefined;
  }
}

/** The public half alone: of a key that came with more, nothing else is looked at. */
function publicHalf({ kty, crv, x, y, n, e }: Members): JsonWebKeyInput["key"] | undefined {
  const half = kty === "EC" ? { kty, crv, x, y } : kty === "RSA" ? { kty, n, e } : undefined;
  return half !== undefined && Object.values(half).every((part) => typeof part === "string") ? (half as JsonWebKeyInput["key"]) : undefined;
}

function keyOf(value: unknown): readonly [string, JwtKey] | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { use, kid, alg } = value as Members;
  const half = publicHalf(value as Members);
  if (half === undefined || use !== "jwt-svid" || typeof kid !== "string" || kid === "") return undefined;
  try {
    const key = createPublicKey({ key: half, format: "jwk" });
    return isJwtKey(key) ? [kid, { key, algorithm: typeof alg === "string" ? alg : undefined }] : undefined;
  } catch {
    return undefined;
  }
}

/** The keys of a JSON Web Key Set that verify JWT-SVIDs; those of other uses and kinds are left out, and so is what is none. */
export function parseJwtKeys(jwks: string): JwtKeys {
  const { keys } = parseObject(jwks) ?? {};
  const list: readonly unknown[] = Array.isArray(keys) ? keys.slice(0, MAX_KEYS) : [];
  return new Map(list.map(keyOf).filter((found) => found !== undefined));
}

/** A control plane's answer as a bundle. Throws `permission-denied` for what is none: nothing is verified with it. */
export function parseJwtBundle(jwks: string): JwtBundle {
  const keys = parseJwtKeys(jwks);
  if (keys.size === 0) throw new AppError("permission-denied", "the control plane's bundle has no key for JWT-SVIDs");
  const { spiffe_refresh_hint: hint } = parseObject(jwks) ?? {};
  const seconds = typeof hint === "number" && Number.isFinite(hint) ? hint : DEFAULT_REFRESH_SECONDS;
  return { jwks, keys, refreshMs: 1_000 * Math.min(MAX_REFRESH_SECONDS, Math.max(MIN_REFRESH_SECONDS, seconds)) };
}

function refuse(why: string): AppError {
  return new AppError("invalid-argument", `the JWT-SVID is refused: ${why}`);
}

interface TokenParts {
  readonly alg: string;
  readonly algorithm: JwtAlgorithm;
  readonly kid: string;
  readonly claims: Members;
  readonly signed: string;
  readonly signature: Buffer;
}

const decode = (part: string) => parseObject(Buffer.from(part, "base64url").toString("utf8"));

/** SPIFFE JWT-SVID §2: the header; nothing of it is to be believed yet. Throws `invalid-argument`. */
export function readToken(token: string): TokenParts {
  const [, first = "", second = "", third = ""] = (token.length <= MAX_TOKEN_CHARACTERS ? COMPACT.exec(token) : null) ?? [];
  const header = decode(first);
  const claims = decode(second);
  if (header === undefined || claims === undefined) throw refuse("it is not a JWT in compact serialization");
  const { alg, kid, typ, crit } = header;
  const algorithm = jwtAlgorithm(alg);
  if (typeof alg !== "string" || algorithm === undefined) throw refuse("its algorithm is none of those of JWT-SVIDs");
  if (typ !== undefined && typ !== "JWT" && typ !== "JOSE") throw refuse("its type is neither `JWT` nor `JOSE`");
  if (crit !== undefined) throw refuse("its header has extensions that must be understood");
  if (typeof kid !== "string") throw refuse("it names no key");
  return { alg, algorithm, kid, claims, signed: `${first}.${second}`, signature: Buffer.from(third, "base64url") };
}

function checkClaims({ sub, aud, exp, nbf }: Members, { audience, trustDomain, now }: ValidationOptions): string {
  const audiences: readonly unknown[] = Array.isArray(aud) ? aud : [aud];
  if (!audiences.includes(audience)) throw refuse("it is for another audience");
  if (typeof exp !== "number" || !(now < exp * 1_000 + LEEWAY_MS)) throw refuse("it has expired");
  if (nbf !== undefined && !(typeof nbf === "number" && now >= nbf * 1_000 - LEEWAY_MS)) throw refuse("it is not valid yet");
  if (typeof sub !== "string" || !sub.startsWith(`spiffe://${trustDomain}/`)) throw refuse("its subject is not of the trust domain");
  if (!isSpiffeIdOf(sub, trustDomain)) throw refuse("its subject is not a SPIFFE ID");
  return sub;
}

export interface ValidationOptions {
  readonly audience: string;
  readonly trustDomain: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/**
 * Whose the token is (SPIFFE JWT-SVID §4 to §5): the signature first, so that only a real token's claims are told of. `keys` are those of the trust
 * domain. Throws `invalid-argument`.
 */
export function validateJwtSvid(token: string, keys: JwtKeys, options: ValidationOptions): ValidJwtSvid {
  const { alg, algorithm, kid, claims, signed, signature } = readToken(token);
  const found = keys.get(kid);
  if (found === undefined) throw refuse("no key of the trust domain has its name");
  // The key says what it is for, and not the token: otherwise its author chooses.
  if (!algorithm.fits(found.key) || (found.algorithm ?? alg) !== alg) throw refuse("its algorithm is not the key's");
  if (!algorithm.verify(Buffer.from(signed), found.key, signature)) throw refuse("its signature is wrong");
  return { identity: checkClaims(claims, options), claims };
}
