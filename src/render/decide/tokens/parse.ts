/** A token taken apart (RFC 7515 §3.1, RFC 7519 §4.1), checked in the order and refused in the words of Envoy 1.40. */
import { decodeBase64url } from "../../../policy/byte-text.ts";
import { parseStrictObject } from "./strict-json.ts";

/** Why a token is refused; Envoy's own words, which clients see. */
export class JwtFailure {
  readonly text: string;
  readonly status: 401 | 403;

  constructor(text: string, status: 401 | 403 = 401) {
    this.text = text;
    this.status = status;
  }
}

export interface ParsedJwt {
  readonly algorithm: string;
  /** Empty where the header names none. */
  readonly kid: string;
  /** It names parts that must be understood (RFC 7515 §4.1.11); none of them is. */
  readonly critical: boolean;
  readonly claims: Readonly<Record<string, unknown>>;
  readonly issuer: string;
  readonly audiences: readonly string[];
  /** Seconds since the epoch; 0 where the token does not say. */
  readonly expires: number;
  readonly notBefore: number;
  /** The payload as it stands in the token. */
  readonly encodedPayload: string;
  readonly signature: Uint8Array;
  /** What was signed: header and payload as they stand in the token. */
  readonly signed: string;
}

const BAD_FORMAT = new JwtFailure("Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections");

/** RFC 7518 §3.1 and RFC 8037 §3.1; HMAC is known, so that it is refused for its key and not for its name. */
const KNOWN_ALGORITHMS: ReadonlySet<string> = new Set(
  ["ES", "HS", "RS", "PS"].flatMap((family) => ["256", "384", "512"].map((size) => family + size)).concat("EdDSA"),
);

function parseSection(section: string, name: "header" | "payload"): Readonly<Record<string, unknown>> | JwtFailure {
  const bytes = decodeBase64url(section);
  if (bytes === undefined) return new JwtFailure(`Jwt ${name} is an invalid Base64url encoded`);
  return parseStrictObject(bytes) ?? new JwtFailure(`Jwt ${name} is an invalid JSON`);
}

function wrongClaim({ iss, sub, iat, nbf, exp, jti }: Readonly<Record<string, unknown>>): JwtFailure | undefined {
  for (const [name, value] of Object.entries({ iss, sub }))
    if (value !== undefined && typeof value !== "string") return new JwtFailure(`Jwt payload [${name}] field is not a string`);
  for (const [name, value] of Object.entries({ iat, nbf, exp })) {
    if (value === undefined) continue;
    if (typeof value !== "number") return new JwtFailure(`Jwt payload [${name}] field is not an integer`);
    if (value < 0 || value >= 2 ** 63) return new JwtFailure(`Jwt payload [${name}] field is not a positive 64 bit integer`);
  }
  return jti === undefined || typeof jti === "string" ? undefined : new JwtFailure("Jwt payload [jti] field is not a string");
}

function audiencesOf(audience: unknown): readonly string[] | JwtFailure {
  if (audience === undefined) return [];
  const list: readonly unknown[] = Array.isArray(audience) ? audience : [audience];
  const texts = list.filter((item) => typeof item === "string");
  return texts.length === list.length ? texts : new JwtFailure("Jwt payload [aud] field is not a string or string list");
}

function seconds(value: unknown): number {
  return typeof value === "number" ? Math.trunc(value) : 0;
}

/** The parts of a token, or why it is none. Nothing of it is to be believed yet. */
export function parseJwt(text: string): ParsedJwt | JwtFailure {
  const [first = "", second = "", third = "", ...more] = text.split(".");
  if (first === "" || second === "" || third === "" || more.length > 0) return BAD_FORMAT;
  const header = parseSection(first, "header");
  if (header instanceof JwtFailure) return header;
  const { alg, kid = "" } = header;
  if (typeof alg !== "string") return new JwtFailure("Jwt header [alg] field is required and must be a string");
  if (!KNOWN_ALGORITHMS.has(alg)) return new JwtFailure("Jwt header [alg] is not supported");
  if (typeof kid !== "string") return new JwtFailure("Jwt header [kid] field is not a string");
  const claims = parseSection(second, "payload");
  if (claims instanceof JwtFailure) return claims;
  const wrong = wrongClaim(claims);
  if (wrong !== undefined) return wrong;
  const audiences = audiencesOf(claims.aud);
  if (audiences instanceof JwtFailure) return audiences;
  const signature = decodeBase64url(third);
  if (signature === undefined) return new JwtFailure("Jwt signature is an invalid Base64url encoded");
  const { iss, exp, nbf } = claims;
  const issuer = typeof iss === "string" ? iss : "";
  const critical = Object.hasOwn(header, "crit");
  return {
    algorithm: alg,
    kid,
    critical,
    claims,
    issuer,
    audiences,
    expires: seconds(exp),
    notBefore: seconds(nbf),
    encodedPayload: second,
    signature,
    signed: `${first}.${second}`,
  };
}
