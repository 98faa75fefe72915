/** Tokens of issuers outside: whose they are is asked of the one issuer that they name (RFC 7519, RFC 8725 §3.8). */
import { createLocalJWKSet, decodeJwt, errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from "jose";
import type { Clock } from "../../core/clock.ts";
import { AppError } from "../../core/error.ts";
import type { PublicJwk } from "../../policy/jwks.ts";
import type { RemoteJwks } from "../../policy/model.ts";
import { type Account, accountOf, type Claims } from "./account-mapping.ts";
import { kubernetesAccount } from "./kubernetes-account.ts";
import type { TokenIssuerOutside } from "./model.ts";

export type KeysOf = (source: RemoteJwks) => readonly PublicJwk[];

/** Never HMAC: its key is a secret, and a published one would sign for anybody. */
const ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"];
const MAX_TOKEN = 16_384;
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]+$/;
/** Clocks of issuers are not quite ours. */
const SKEW_SECONDS = 30;

const FLAW_OF_CLAIM: ReadonlyMap<string, string> = new Map([
  ["aud", "it is for another audience"],
  ["nbf", "it is not valid yet"],
]);

function refuse(reason: string): AppError {
  return new AppError("unauthenticated", `the token was refused: ${reason}`);
}

/** jose checks the signature before any claim, so that only holders of a real token learn what is wrong with its claims. */
function flawOf(error: unknown): string {
  if (error instanceof errors.JWTExpired) return "it has expired";
  if (error instanceof errors.JWTClaimValidationFailed) return FLAW_OF_CLAIM.get(error.claim) ?? `its claim \`${error.claim}\` does not do`;
  if (error instanceof errors.JWSSignatureVerificationFailed) return "its signature does not hold";
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys)
    return "its issuer has no key of that name";
  return "it is malformed";
}

/** The issuer that a token names; undefined where it is no token. Nothing of it is to be believed yet. */
export function namedIssuer(token: string): string | undefined {
  if (token.length > MAX_TOKEN || !COMPACT.test(token)) return undefined;
  try {
    const { iss } = decodeJwt(token);
    return typeof iss === "string" ? iss : undefined;
  } catch {
    return undefined;
  }
}

function accountFor(issuer: TokenIssuerOutside, payload: JWTPayload): Account {
  const claims: Claims = payload;
  if (issuer.kind === "kubernetes") return kubernetesAccount(claims, issuer.namespaces);
  // An address that nobody proved to have is a text of the token's owner.
  if (issuer.kind === "gcp" && claims.email_verified !== true) return accountOf(issuer.accounts, { ...claims, email: undefined });
  return accountOf(issuer.accounts, claims);
}

/** One issuer with its keys of the moment. */
export class OutsideTokens {
  readonly issuer: TokenIssuerOutside;
  readonly #keysOf: KeysOf;
  readonly #clock: Clock;
  #keys: readonly PublicJwk[] = [];
  #find: JWTVerifyGetKey = createLocalJWKSet({ keys: [] });

  constructor(issuer: TokenIssuerOutside, keysOf: KeysOf, clock: Clock) {
    this.issuer = issuer;
    this.#keysOf = keysOf;
    this.#clock = clock;
  }

  /** The service account that a token of this issuer stands for. Throws `unauthenticated`. */
  async account(token: string): Promise<Account> {
    return accountFor(this.issuer, await this.#payload(token));
  }

  async #payload(token: string): Promise<JWTPayload> {
    const { issuer, audiences } = this.issuer;
    const find = this.#finder();
    try {
      const { payload } = await jwtVerify(token, find, {
        algorithms: ALGORITHMS,
        issuer,
        audience: [...audiences],
        requiredClaims: ["exp", "aud"],
        clockTolerance: SKEW_SECONDS,
        currentDate: new Date(this.#clock.now()),
      });
      return payload;
    } catch (error) {
      throw refuse(flawOf(error));
    }
  }

  /** Imported keys are kept for as long as they are the issuer's. */
  #finder(): JWTVerifyGetKey {
    const { jwks } = this.issuer;
    const keys = jwks.kind === "inline" ? jwks.keys : this.#keysOf(jwks);
    if (keys.length === 0) throw refuse("the keys of its issuer could not be fetched yet");
    if (keys !== this.#keys) {
      this.#keys = keys;
      this.#find = createLocalJWKSet({ keys: keys.map((key) => ({ ...key })) });
    }
    return this.#find;
  }
}
