/** Issues JWT-SVIDs (SPIFFE JWT-SVID): short-lived tokens that name a workload, for peers that mutual TLS does not reach. */
import { hash, type KeyObject, randomUUID, sign } from "node:crypto";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import { formatSpiffeId, type SpiffeId } from "../identity/spiffe-id.ts";
import type { TrustDomain } from "../identity/trust-domain.ts";
import type { JwtSvidKeys } from "./jwt-svid-keys.ts";
import type { JwtSvidRecord } from "./jwt-svid-record.ts";

export interface JwtSvidRequest {
  /** The caller's proved identity: the token's subject. */
  readonly identity: SpiffeId;
  readonly audiences: readonly string[];
  /** 0 takes 5 minutes. */
  readonly ttlSeconds: number;
}

export interface JwtSvid {
  readonly token: string;
  /** Its `jti`. */
  readonly id: string;
  /** Milliseconds. */
  readonly issuedAt: number;
  readonly expiresAt: number;
}

export interface JwtSvidIssuerOptions {
  readonly trustDomain: TrustDomain;
  readonly keys: JwtSvidKeys;
  readonly record: JwtSvidRecord;
  readonly clock: Clock;
}

const DEFAULT_TTL_SECONDS = 300;
const MAX_TTL_SECONDS = 3_600;
const MAX_AUDIENCES = 16;
const MAX_AUDIENCE_CHARACTERS = 512;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
const CONTROL = /[\u0000-\u001f\u007f]/;

function checkAudiences(audiences: readonly string[]): readonly string[] {
  const unique = [...new Set(audiences)];
  if (unique.length === 0) throw new AppError("invalid-argument", "a JWT-SVID needs an audience: whom is it for?");
  if (unique.length > MAX_AUDIENCES) throw new AppError("invalid-argument", `a JWT-SVID has at most ${MAX_AUDIENCES} audiences`);
  if (unique.every((audience) => audience !== "" && audience.length <= MAX_AUDIENCE_CHARACTERS && !CONTROL.test(audience))) return unique;
  throw new AppError("invalid-argument", `an audience has 1 to ${MAX_AUDIENCE_CHARACTERS} characters, none of them a control character`);
}

function checkTtl(ttlSeconds: number): number {
  if (ttlSeconds <= MAX_TTL_SECONDS) return ttlSeconds === 0 ? DEFAULT_TTL_SECONDS : ttlSeconds;
  throw new AppError("invalid-argument", `requested TTL ${ttlSeconds} s is greater than the max allowed TTL ${MAX_TTL_SECONDS} s`);
}

const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** RFC 7515 §5.1 with ES256 (RFC 7518 §3.4). */
function signToken(signed: string, privateKey: KeyObject): string {
  const signature = sign("sha256", Buffer.from(signed), { key: privateKey, dsaEncoding: "ieee-p1363" });
  return `${signed}.${signature.toString("base64url")}`;
}

/**
 * A token whose subject is `identity`. Throws `invalid-argument` for an audience or a life that is none, `permission-denied` for an identity of
 * another trust domain, `unavailable` when it cannot be recorded.
 */
export function issueJwtSvid(options: JwtSvidIssuerOptions, { identity, audiences, ttlSeconds }: JwtSvidRequest): JwtSvid {
  const subject = formatSpiffeId(identity);
  if (identity.trustDomain !== options.trustDomain)
    throw new AppError("permission-denied", `the identity \`${subject}\` is not of the trust domain \`${options.trustDomain}\``);
  const aud = checkAudiences(audiences);
  const iat = Math.floor(options.clock.now() / 1000);
  const exp = iat + checkTtl(ttlSeconds);
  const jti = randomUUID();
  const issued = { id: jti, issuedAt: iat * 1000, expiresAt: exp * 1000 };
  // Recorded first: a token that nobody knows of does not exist.
  const { kid, privateKey } = options.keys.signing;
  const signed = `${encode({ alg: "ES256", kid, typ: "JWT" })}.${encode({ sub: subject, aud, iat, exp, jti })}`;
  options.record.add({ ...issued, identity: subject, audiences: aud, sha256: hash("sha256", signed, "hex") });
  return { ...issued, token: signToken(signed, privateKey) };
}
