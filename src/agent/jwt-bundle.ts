/** The keys that verify the JWT-SVIDs of a trust domain (SPIFFE Trust Domain and Bundle §4.2), and the check of a token with them. */
import { createPublicKey, type KeyObject, verify } from "node:crypto";
import { AppError } from "../core/error.ts";
import { parseSpiffeId } from "../identity/spiffe-id.ts";

export interface JwtBundle {
  /** As the control plane wrote it. */
  readonly jwks: string;
  readonly keys: ReadonlyMap<string, KeyObject>;
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

function keyOf(value: unknown): readonly [string, KeyObject] | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { kty, crv, use, kid, x, y } = value as Members;
  if (kty !== "EC" || crv !== "P-256" || use !== "jwt-svid" || typeof kid !== "string" || kid === "") return undefined;
  if (typeof x !== "string" || typeof y !== "string") return undefined;
  try {
    return [kid, createPublicKey({ key: { kty, crv, x, y }, format: "jwk" })];
  } catch {
    return undefined;
  }
}

/** A control plane's answer as a bundle. Throws `permission-denied` for what is none: nothing is verified with it. */
export function parseJwtBundle(jwks: string): JwtBundle {
  const { keys: list, spiffe_refresh_hint: hint } = parseObject(jwks) ?? {};
  const keys = new Map<string, KeyObject>();
  for (const entry of Array.isArray(list) ? list.slice(0, MAX_KEYS) : []) {
    const [kid, key] = keyOf(entry) ?? [];
    if (kid !== undefined && key !== undefined) keys.set(kid, key);
  }
  if (keys.size === 0) throw new AppError("permission-denied", "the control plane's bundle has no key for JWT-SVIDs");
  const seconds = typeof hint === "number" && Number.isFinite(hint) ? hint : DEFAULT_REFRESH_SECONDS;
  return { jwks, keys, refreshMs: 1_000 * Math.min(MAX_REFRESH_SECONDS, Math.max(MIN_REFRESH_SECONDS, seconds)) };
}

function refuse(why: string): AppError {
  return new AppError("invalid-argument", `the JWT-SVID is refused: ${why}`);
}

interface TokenParts {
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
  if (alg !== "ES256") throw refuse("it is not signed with ES256");
  if (typ !== undefined && typ !== "JWT" && typ !== "JOSE") throw refuse("its type is neither `JWT` nor `JOSE`");
  if (crit !== undefined) throw refuse("its header has extensions that must be understood");
  if (typeof kid !== "string") throw refuse("it names no key");
  return { kid, claims, signed: `${first}.${second}`, signature: Buffer.from(third, "base64url") };
}

function checkClaims({ sub, aud, exp, nbf }: Members, { audience, trustDomain, now }: ValidationOptions): string {
  const audiences: readonly unknown[] = Array.isArray(aud) ? aud : [aud];
  if (!audiences.includes(audience)) throw refuse("it is for another audience");
  if (typeof exp !== "number" || !(now < exp * 1_000 + LEEWAY_MS)) throw refuse("it has expired");
  if (nbf !== undefined && !(typeof nbf === "number" && now >= nbf * 1_000 - LEEWAY_MS)) throw refuse("it is not valid yet");
  if (typeof sub !== "string" || !sub.startsWith(`spiffe://${trustDomain}/`)) throw refuse("its subject is not of the trust domain");
  try {
    parseSpiffeId(sub);
  } catch {
    throw refuse("its subject is not a workload identity");
  }
  return sub;
}

export interface ValidationOptions {
  readonly audience: string;
  readonly trustDomain: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** Whose the token is (SPIFFE JWT-SVID §4 to §5): the signature first, so that only a real token's claims are told of. Throws `invalid-argument`. */
export function validateJwtSvid(token: string, bundle: JwtBundle, options: ValidationOptions): ValidJwtSvid {
  const { kid, claims, signed, signature } = readToken(token);
  const key = bundle.keys.get(kid);
  if (key === undefined) throw refuse("no key of the trust domain has its name");
  if (!verify("sha256", Buffer.from(signed), { key, dsaEncoding: "ieee-p1363" }, signature)) throw refuse("its signature is wrong");
  return { identity: checkClaims(claims, options), claims };
}
