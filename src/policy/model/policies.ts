/** Who may do what: modes of mutual TLS, rules, tokens. */
import type { Place } from "../../core/diagnostic.ts";
import type { AttributeKey } from "../attributes.ts";
import type { PublicJwk } from "../jwks.ts";
import type { ValueMatch } from "../pattern.ts";
import type { ObjectMeta, Selector, TargetRef } from "./object.ts";

export type MtlsMode = "UNSET" | "DISABLE" | "PERMISSIVE" | "STRICT";

/** Istio `security.v1.PeerAuthentication`. */
export interface PeerAuthenticationObject {
  readonly kind: "PeerAuthentication";
  readonly meta: ObjectMeta;
  readonly selector: Selector;
  /** `invalid` is closed: STRICT everywhere it would apply. */
  readonly mtls: MtlsMode | "invalid";
  readonly portLevelMtls: ReadonlyMap<number, MtlsMode>;
}

export type PolicyAction = "ALLOW" | "DENY" | "AUDIT" | "CUSTOM";

/** One field of a rule, or one negative field: `values` are joined by OR, then negated (Istio AZ-3). Never empty. */
export interface Clause {
  readonly attribute: AttributeKey;
  /** The part in brackets of a key such as `request.headers[x-a]`; empty for other attributes. */
  readonly argument: string;
  readonly values: readonly ValueMatch[];
  readonly negated: boolean;
}

/** `from` AND `to` AND `when`; each of from and to is OR over elements, each element AND over clauses. Empty means no constraint. */
export interface Rule {
  readonly from: readonly (readonly Clause[])[];
  readonly to: readonly (readonly Clause[])[];
  readonly when: readonly Clause[];
  readonly place?: Place;
}

/** Istio `security.v1.AuthorizationPolicy`. */
export interface AuthorizationPolicyObject {
  readonly kind: "AuthorizationPolicy";
  readonly meta: ObjectMeta;
  readonly selector: Selector;
  /** Never empty. With them, the selector says nothing. */
  readonly targetRefs?: readonly TargetRef[];
  readonly action: PolicyAction;
  /** The name of the extension provider that a CUSTOM policy asks; undefined for every other action. */
  readonly provider?: string;
  /** No rules: an ALLOW that matches nothing (AZ-4). `invalid` is closed: ALLOW matches nothing, DENY and CUSTOM deny everything. */
  readonly rules: readonly Rule[] | "invalid";
  /** Tried and recorded, never enforced (`istio.io/dry-run`); of ALLOW and DENY only. */
  readonly dryRun?: true;
}

/** Keys that are fetched: from a JWKS document, or from the one that the issuer's OIDC discovery names. */
export interface RemoteJwks {
  readonly kind: "uri" | "discovery";
  /** The document's address, or the issuer's. */
  readonly url: string;
  readonly timeoutMs: number;
}

export type JwksSource = { readonly kind: "inline"; readonly keys: readonly PublicJwk[] } | RemoteJwks;

/** Where a token may stand. None at all means the default places (JW-3). */
export interface JwtLocations {
  /** Names in lower case; what stands before the token, or nothing. */
  readonly fromHeaders: readonly { readonly name: string; readonly prefix: string }[];
  readonly fromParams: readonly string[];
  readonly fromCookies: readonly string[];
}

/** Istio `security.v1.JWTRule`, but for its keys. */
export interface JwtRuleFields extends JwtLocations {
  /** Empty takes any issuer that the keys vouch for. */
  readonly issuer: string;
  /** One of them is enough; none asks for none. */
  readonly audiences: readonly string[];
  readonly forwardOriginalToken: boolean;
  /** Header names in lower case. */
  readonly outputPayloadToHeader: string | undefined;
  readonly outputClaimToHeaders: readonly { readonly header: string; readonly claim: string }[];
  readonly spaceDelimitedClaims: readonly string[];
  /** REQUIRED: a request without this token is refused, whatever other tokens it has (JW-8). */
  readonly presence: "OPTIONAL" | "REQUIRED";
}

export interface JwtRule extends JwtRuleFields {
  readonly jwks: JwksSource;
}

/** Istio `security.v1.RequestAuthentication`. */
export interface RequestAuthenticationObject {
  readonly kind: "RequestAuthentication";
  readonly meta: ObjectMeta;
  readonly selector: Selector;
  /** Never empty. With them, the selector says nothing. */
  readonly targetRefs?: readonly TargetRef[];
  /** `invalid` is closed: every request in its scope is refused. */
  readonly jwtRules: readonly JwtRule[] | "invalid";
}
