/** RequestAuthentications -> the token rules of one workload, with their keys in them. */
import { narrow } from "../mesh/recording.ts";
import { holdingFor, policyApplies } from "../mesh/selection.ts";
import type { MeshSnapshot, Workload } from "../mesh/snapshot.ts";
import type { PublicJwk } from "../policy/jwks.ts";
import type { JwtLocations, JwtRule, JwtRuleFields, MeshObject, RemoteJwks, RequestAuthenticationObject } from "../policy/model.ts";
import type { CompiledJwtRule } from "./workload-policy.ts";

/** The keys of a document that was fetched; none where it never was; `unknown` where nobody tried. */
export type JwksLookup = (source: RemoteJwks) => readonly PublicJwk[] | "unknown";

/** For whoever fetches nothing, and says so. */
export const UNKNOWN_KEYS: JwksLookup = () => "unknown";

/** Nothing was fetched: no token of a remote issuer is accepted. */
export const NO_REMOTE_KEYS: JwksLookup = () => [];

/** JW-3: only where the rule names no place of its own. */
const DEFAULT_LOCATIONS: JwtLocations = {
  fromHeaders: [{ name: "authorization", prefix: "Bearer " }],
  fromParams: ["access_token"],
  fromCookies: [],
};

/** Closed: a token that must be there and that no key verifies, so that every request is refused. */
const CLOSED: JwtRuleFields & { readonly keys: readonly PublicJwk[] } = {
  issuer: "",
  audiences: [],
  keys: [],
  ...DEFAULT_LOCATIONS,
  forwardOriginalToken: false,
  outputPayloadToHeader: undefined,
  outputClaimToHeaders: [],
  spaceDelimitedClaims: [],
  presence: "REQUIRED",
};

function locationsOf({ fromHeaders, fromParams, fromCookies }: JwtLocations): JwtLocations {
  const none = fromHeaders.length + fromParams.length + fromCookies.length === 0;
  return none ? DEFAULT_LOCATIONS : { fromHeaders, fromParams, fromCookies };
}

function toCompiled(rule: JwtRule, keysOf: JwksLookup): CompiledJwtRule {
  const { jwks, ...fields } = rule;
  const keys = jwks.kind === "inline" ? jwks.keys : keysOf(jwks);
  const known = keys === "unknown" ? ({ keys: [], keysUnknown: true } as const) : { keys };
  return { ...fields, ...locationsOf(rule), ...known };
}

interface PlacedRule {
  readonly policy: RequestAuthenticationObject;
  readonly rule: JwtRule | "closed";
}

function rulesOf(policy: RequestAuthenticationObject): readonly PlacedRule[] {
  return policy.jwtRules === "invalid" ? [{ policy, rule: "closed" }] : policy.jwtRules.map((rule) => ({ policy, rule }));
}

function issuerOf({ rule }: PlacedRule): string {
  return rule === "closed" ? CLOSED.issuer : rule.issuer;
}

/** By issuer (JW-1), and among equals by the age of their policies. */
function byIssuer(left: PlacedRule, right: PlacedRule): number {
  return issuerOf(left) < issuerOf(right) ? -1 : issuerOf(left) > issuerOf(right) ? 1 : 0;
}

const requestAuthenticationsOf = narrow((snapshot, workload: Workload): readonly RequestAuthenticationObject[] =>
  holdingFor(snapshot, "requestAuthentications", workload, (policy) => policyApplies(snapshot, policy, workload)),
);

/** The rules for tokens of a workload in their order, each with the policy that it is of. */
function placedRules(snapshot: MeshSnapshot, workload: Workload): readonly PlacedRule[] {
  return requestAuthenticationsOf(snapshot, workload).flatMap(rulesOf).sort(byIssuer);
}

/** The policy of each rule for tokens of a workload, in the order of the rules. */
export function jwtPoliciesOf(snapshot: MeshSnapshot, workload: Workload): readonly RequestAuthenticationObject[] {
  return placedRules(snapshot, workload).map(({ policy }) => policy);
}

/** The token rules of a workload; undefined where no policy selects it. */
export function compileRequestAuthentication(
  snapshot: MeshSnapshot,
  workload: Workload,
  keysOf: JwksLookup,
): readonly CompiledJwtRule[] | undefined {
  const rules = placedRules(snapshot, workload).map(({ rule }) => (rule === "closed" ? CLOSED : toCompiled(rule, keysOf)));
  return rules.length === 0 ? undefined : rules;
}

/** Everything that must be fetched for a mesh. */
export function remoteJwksOf(objects: readonly MeshObject[]): readonly RemoteJwks[] {
  return objects
    .filter((object) => object.kind === "RequestAuthentication")
    .flatMap(({ jwtRules }) => (jwtRules === "invalid" ? [] : jwtRules))
    .flatMap(({ jwks }) => (jwks.kind === "inline" ? [] : [jwks]));
}
