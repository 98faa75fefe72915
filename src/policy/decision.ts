/** What is known of a connection or request, and what is decided of it. */
import type { PolicyAction } from "./model.ts";
import { formatOrigin, type Origin } from "./origin.ts";
import type { Requester } from "./requester.ts";

/** The HTTP half of the facts. */
export interface HttpFacts {
  readonly method: string;
  /** Normalized, without query and fragment. */
  readonly path: string;
  /** Host or :authority, as sent. */
  readonly host: string;
  /** Names in lower case; every value of a repeated header on its own. */
  readonly headers: ReadonlyMap<string, readonly string[]>;
}

/** Everything that a policy may ask about. */
export interface Facts {
  /** The SPIFFE ID that the peer proved by mutual TLS; undefined for plaintext. */
  readonly peer: string | undefined;
  /** SHA-256 of its certificate's DER, in hex; absent where it is not known. */
  readonly peerCertificate?: string;
  readonly sourceIp: string;
  /** The original client, as far as trusted proxies tell; the same as `sourceIp` where there are none. */
  readonly remoteIp: string;
  readonly destinationIp: string;
  readonly destinationPort: number;
  /** Empty where the client named none. */
  readonly sni: string;
  /** Undefined for a plain TCP connection. */
  readonly http: HttpFacts | undefined;
  /** What a verified token says of the request's sender; absent where there was none. */
  readonly requester?: Requester;
  /** What authorizers have answered, by provider; one that is not here has not been asked. */
  readonly authorizers?: ReadonlyMap<string, AuthorizerAnswer>;
  /** As it was when authorizers were asked, where they or a token have changed it since: CUSTOM rules are about that. */
  readonly asked?: Facts;
}

export type AuthorizerAnswer = "allow" | "deny";

/** An authorizer that must be asked, and the first rule that says so. */
export interface Asking {
  readonly provider: string;
  readonly origin: Origin;
}

/** Why. `default` is "an ALLOW policy exists and none of its rules matches"; `no-policy` is "no policy says otherwise". */
export type Because =
  | { readonly kind: "rule"; readonly action: PolicyAction; readonly origin: Origin }
  | { readonly kind: "default" }
  | { readonly kind: "no-policy" };

export interface Decision {
  readonly effect: "allow" | "deny";
  readonly because: Because;
  /** The AUDIT rules that matched; they never block. */
  readonly audit: readonly Origin[];
}

/** `NAMESPACE/POLICY[RULE]`, `default` or `no-policy`. */
export function formatBecause(because: Because): string {
  return because.kind === "rule" ? formatOrigin(because.origin) : because.kind;
}
