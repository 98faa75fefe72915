/** Whether a token is what a rule asks for: issuer, time, audience, and last the signature, in Envoy's order. */
import type { CompiledJwtRule } from "../../../compile/workload-policy.ts";
import { algorithmsOf, type PublicJwk } from "../../../policy/jwks.ts";
import { JwtFailure, type ParsedJwt, parseJwt } from "./parse.ts";

/** Envoy's; clocks of issuers are not quite ours. */
const CLOCK_SKEW_SECONDS = 60;

export const UNKNOWN_ISSUER = new JwtFailure("Jwt issuer is not configured");
export const NOT_YET_VALID = new JwtFailure("Jwt not yet valid");
export const EXPIRED = new JwtFailure("Jwt is expired");
export const WRONG_AUDIENCE = new JwtFailure("Audiences in Jwt are not allowed", 403);
export const NO_KEYS = new JwtFailure("Jwks remote fetch is failed");
export const NO_MATCHING_KEY = new JwtFailure("Jwks doesn't have key to match kid or alg from Jwt");
export const BAD_SIGNATURE = new JwtFailure("Jwt verification fails");
/** Only of questions: the rule's keys are fetched, and whoever asks has not fetched them. */
export const KEYS_UNKNOWN = new JwtFailure("the issuer's keys are not known here");

/** Whether a key has signed this token, by the token's own algorithm, which is one of the key's. Never throws. */
export type VerifySignature = (token: ParsedJwt, key: PublicJwk) => boolean;

/** What is wrong with a token's signature, by a rule's keys; undefined where nothing is. */
export type CheckSignature = (token: ParsedJwt, rule: CompiledJwtRule) => JwtFailure | undefined;

/** What a token is checked with: the signatures, and the time. */
export interface TokenChecks {
  readonly signature: CheckSignature;
  /** Milliseconds since the Unix epoch. */
  readonly now: () => number;
}

/** By the rule's keys: those of the token's `kid`, or all where it names none, that have its algorithm. */
export function signatureCheck(verify: VerifySignature): CheckSignature {
  return (token, { keys }) => {
    if (keys.length === 0) return NO_KEYS;
    const { kid, algorithm, critical } = token;
    const candidates = keys
      .filter((key) => kid === "" || key.kid === undefined || key.kid === kid)
      .filter((key) => algorithmsOf(key).includes(algorithm));
    if (candidates.length === 0) return NO_MATCHING_KEY;
    return !critical && candidates.some((key) => verify(token, key)) ? undefined : BAD_SIGNATURE;
  };
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
  if (token.notBefore > now + CLOCK_SKEW_SECONDS) return NOT_YET_VALID;
  if (token.expires !== 0 && token.expires + CLOCK_SKEW_SECONDS < now) return EXPIRED;
  return isForUs(rule, token) ? undefined : WRONG_AUDIENCE;
}

/** The token as it may be believed, or why not. */
export function verifyToken(text: string, rule: CompiledJwtRule, { signature, now }: TokenChecks): ParsedJwt | JwtFailure {
  const token = parseJwt(text);
  if (token instanceof JwtFailure) return token;
  return misfit(rule, token, Math.floor(now() / 1000)) ?? signature(token, rule) ?? token;
}
