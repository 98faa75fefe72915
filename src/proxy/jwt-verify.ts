/** Whether a token is what a rule asks for: issuer, time, audience, and last the signature, in Envoy's order. */
import { type CryptoKey, compactVerify, importJWK } from "jose";
import type { CompiledJwtRule } from "../compile/workload-policy.ts";
import type { Clock } from "../core/clock.ts";
import { algorithmsOf, type PublicJwk } from "../policy/jwks.ts";
import { JwtFailure, type ParsedJwt, parseJwt } from "./jwt-parse.ts";

/** Envoy's; clocks of issuers are not quite ours. */
const CLOCK_SKEW_SECONDS = 60;

export const UNKNOWN_ISSUER = new JwtFailure("Jwt issuer is not configured");
const NO_KEYS = new JwtFailure("Jwks remote fetch is failed");
const NO_MATCHING_KEY = new JwtFailure("Jwks doesn't have key to match kid or alg from Jwt");
const BAD_SIGNATURE = new JwtFailure("Jwt verification fails");

/** Imported once; a policy that goes takes its keys with it. */
const imported = new WeakMap<PublicJwk, Map<string, Promise<CryptoKey | Uint8Array>>>();

function importKey(key: PublicJwk, algorithm: string): Promise<CryptoKey | Uint8Array> {
  const known = imported.get(key) ?? new Map<string, Promise<CryptoKey | Uint8Array>>();
  imported.set(key, known);
  const ready = known.get(algorithm) ?? importJWK(key, algorithm);
  known.set(algorithm, ready);
  return ready;
}

/** Without its scheme and a slash at the end: Envoy takes `https://a/`, `http://a` and `a` for one audience. */
function plainAudience(audience: string): string {
  return audience.replace(/^https?:\/\//, "").replace(/\/$/, "");
}

function isForUs({ audiences }: CompiledJwtRule, token: ParsedJwt): boolean {
  if (audiences.length === 0) return true;
  const accepted = new Set(audiences.map(plainAudience));
  return token.audiences.some((audience) => accepted.has(plainAudience(audience)));
}

/** What is wrong with the token before its signature is looked at. */
function misfit(rule: CompiledJwtRule, token: ParsedJwt, now: number): JwtFailure | undefined {
  if (rule.issuer !== "" && token.issuer !== rule.issuer) return UNKNOWN_ISSUER;
  if (token.notBefore > now + CLOCK_SKEW_SECONDS) return new JwtFailure("Jwt not yet valid");
  if (token.expires !== 0 && token.expires + CLOCK_SKEW_SECONDS < now) return new JwtFailure("Jwt is expired");
  return isForUs(rule, token) ? undefined : new JwtFailure("Audiences in Jwt are not allowed", 403);
}

async function isSignedBy(text: string, key: PublicJwk, algorithm: string): Promise<boolean> {
  try {
    await compactVerify(text, await importKey(key, algorithm), { algorithms: [algorithm] });
    return true;
  } catch {
    return false;
  }
}

/** The token as it may be believed, or why not. */
export async function verifyJwt(text: string, rule: CompiledJwtRule, clock: Clock): Promise<ParsedJwt | JwtFailure> {
  const token = parseJwt(text);
  if (token instanceof JwtFailure) return token;
  const wrong = misfit(rule, token, Math.floor(clock.now() / 1000));
  if (wrong !== undefined) return wrong;
  if (rule.keys.length === 0) return NO_KEYS;
  const { kid, algorithm } = token;
  const candidates = rule.keys
    .filter((key) => kid === "" || key.kid === undefined || key.kid === kid)
    .filter((key) => algorithmsOf(key).includes(algorithm));
  if (candidates.length === 0) return NO_MATCHING_KEY;
  for (const key of candidates) if (await isSignedBy(text, key, algorithm)) return token;
  return BAD_SIGNATURE;
}
