/** `authorization: Bearer join-…`: the first certificate of a machine that has no other credential. */
import { AppError } from "../core/error.ts";
import { formatSpiffeId, type SpiffeId } from "../identity/spiffe-id.ts";
import type { TrustDomain } from "../identity/trust-domain.ts";
import type { Authenticator, CallerCredentials } from "./authenticators.ts";
import { isJoinToken, type JoinTokenSubject, type JoinTokens } from "./join-tokens.ts";

export interface JoinAuthenticatorOptions {
  readonly trustDomain: TrustDomain;
  readonly tokens: JoinTokens;
  /** The SPIFFE ID that a workload runs as now; undefined where there is none of that name. */
  readonly accountOf: (workload: string) => string | undefined;
}

/** The join token that a call brings; undefined where it brings none, or several credentials. */
function joinTokenOf({ authorization }: CallerCredentials): string | undefined {
  const [value = "", ...others] = authorization;
  const token = /^bearer (\S+)$/i.exec(value)?.[1];
  return others.length === 0 && token !== undefined && isJoinToken(token) ? token : undefined;
}

/** A token for one workload is good for as long as that runs as the account that it ran as. */
function identityFor({ trustDomain, accountOf }: JoinAuthenticatorOptions, { namespace, name, workload }: JoinTokenSubject): SpiffeId {
  const identity = { trustDomain, namespace, serviceAccount: name };
  if (workload === undefined || accountOf(workload) === formatSpiffeId(identity)) return identity;
  throw new AppError("unauthenticated", "the join token was refused: its workload is not there any more");
}

/** `use`: for certificates, each token once. `look`: for questions that give nothing away but the workload's own description. */
export function joinTokenAuthenticator(options: JoinAuthenticatorOptions, how: "use" | "look"): Authenticator {
  const by = "join token";
  return {
    name: by,
    async authenticate(credentials) {
      const token = joinTokenOf(credentials);
      if (token === undefined) return undefined;
      const identity = identityFor(options, options.tokens.look(token));
      if (how === "use") options.tokens.use(token);
      return { identity, by };
    },
  };
}

/** The one workload that the call's join token is for; undefined without a good one, as a caller with a certificate may bring one that is used up. */
export function boundWorkload({ tokens }: JoinAuthenticatorOptions, credentials: CallerCredentials): string | undefined {
  const token = joinTokenOf(credentials);
  try {
    return token === undefined ? undefined : tokens.look(token).workload;
  } catch {
    return undefined;
  }
}
