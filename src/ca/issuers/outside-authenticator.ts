/** `authorization: Bearer …` with a proof of identity that somebody outside the mesh gave: an issuer of tokens, or a cloud. */
import type { Clock } from "../../core/clock.ts";
import { AppError } from "../../core/error.ts";
import type { SpiffeId } from "../../identity/spiffe-id.ts";
import type { TrustDomain } from "../../identity/trust-domain.ts";
import type { Authenticator, CallerCredentials, Proof } from "../authenticators.ts";
import type { Account } from "./account-mapping.ts";
import { isAwsDocument, verifyAwsDocument } from "./aws-document.ts";
import type { InstanceJoins } from "./instance-joins.ts";
import type { AwsIssuer, OutsideIssuer } from "./model.ts";
import { type KeysOf, namedIssuer, OutsideTokens } from "./token-verification.ts";

export interface OutsideOptions {
  readonly trustDomain: TrustDomain;
  readonly issuers: readonly OutsideIssuer[];
  readonly keysOf: KeysOf;
  readonly joins: InstanceJoins;
  readonly clock: Clock;
}

const BEARER = /^bearer (\S+)$/i;

/** The one bearer credential of a call. */
function bearerOf({ authorization }: CallerCredentials): string | undefined {
  const [value = "", ...others] = authorization;
  return others.length === 0 ? BEARER.exec(value)?.[1] : undefined;
}

/** What a credential outside proves, by its one issuer; undefined for a credential of no configured issuer. */
export class OutsideIdentities {
  readonly #options: OutsideOptions;
  #tokens: ReadonlyMap<string, OutsideTokens> = new Map();
  #aws: AwsIssuer | undefined;

  constructor(options: OutsideOptions) {
    this.#options = options;
    this.replace(options.issuers);
  }

  /** From now on these vouch, and no others. */
  replace(issuers: readonly OutsideIssuer[]): void {
    const { keysOf, clock } = this.#options;
    this.#aws = issuers.find((issuer) => issuer.kind === "aws");
    this.#tokens = new Map(
      issuers.flatMap((issuer) => (issuer.kind === "aws" ? [] : [[issuer.issuer, new OutsideTokens(issuer, keysOf, clock)]])),
    );
  }

  /** `use`: for certificates, each document once. `look`: for questions that give nothing away but the workload's own description. */
  authenticator(how: "use" | "look"): Authenticator {
    return {
      name: "outside identity",
      authenticate: async (credentials) => {
        const credential = bearerOf(credentials);
        if (credential === undefined) return undefined;
        return isAwsDocument(credential) ? this.#instance(credential, how) : this.#token(credential);
      },
    };
  }

  /** `next` for all but tokens of issuers outside: nobody else is asked of those. */
  except(next: Authenticator): Authenticator {
    const authenticate: Authenticator["authenticate"] = async (credentials) => {
      const credential = bearerOf(credentials);
      return credential !== undefined && this.#claims(credential) ? undefined : next.authenticate(credentials);
    };
    return { name: next.name, authenticate };
  }

  #claims(credential: string): boolean {
    return isAwsDocument(credential) || this.#tokens.has(namedIssuer(credential) ?? "");
  }

  async #token(credential: string): Promise<Proof | undefined> {
    const tokens = this.#tokens.get(namedIssuer(credential) ?? "");
    return tokens === undefined ? undefined : this.#proof(await tokens.account(credential), tokens.issuer.name);
  }

  #instance(credential: string, how: "use" | "look"): Proof {
    const { joins, clock } = this.#options;
    if (this.#aws === undefined) throw new AppError("unauthenticated", "no instance identity documents are taken here");
    const instance = verifyAwsDocument(credential, this.#aws, clock);
    if (how === "look") joins.check(instance);
    else joins.use(instance, clock.now());
    return this.#proof(instance.account, `${this.#aws.name} ${instance.instance}`);
  }

  /** An identity of this trust domain, whatever the claims say. */
  #proof({ namespace, name }: Account, by: string): Proof {
    const identity: SpiffeId = { trustDomain: this.#options.trustDomain, namespace, serviceAccount: name };
    return { identity, by: `issuer ${by}` };
  }
}
