/**
 * Token rules -> two HTTP filters of Envoy that come by ECDS, before those of authorization: `sanitize` removes the headers
 * that only a verified token may write, `authn` verifies. Envoy's own removal leaves out the providers that it need not
 * ask (one valid token is enough for `requires_any`) and CORS preflights, so that a client could write such a header.
 */
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { Authorizer, CompiledJwtRule, WorkloadPolicy } from "../../compile/workload-policy.ts";
import {
  type HeaderMutation,
  HeaderMutationSchema as HeaderMutationActionSchema,
} from "../../gen/envoy/config/common/mutation_rules/v3/mutation_rules_pb.js";
import { HeaderMutationSchema } from "../../gen/envoy/extensions/filters/http/header_mutation/v3/header_mutation_pb.js";
import {
  JwtAuthenticationSchema,
  type JwtProviderSchema,
  type JwtRequirementSchema,
} from "../../gen/envoy/extensions/filters/http/jwt_authn/v3/config_pb.js";
import { StringMatcherSchema } from "../../gen/envoy/type/matcher/v3/string_pb.js";
import { reservedHeaders } from "../../policy/authorizer-headers.ts";
import type { PublicJwk } from "../../policy/jwks.ts";
import type { StringMatch } from "../../policy/pattern.ts";
import { SPACE_DELIMITED_CLAIMS } from "../../policy/requester.ts";
import { duration, pack } from "./any.ts";
import type { FilterConfig } from "./filter-config.ts";
import { PAYLOAD_KEY } from "./names.ts";
import { stringMatcher } from "./string-matcher.ts";

type ProviderInit = MessageInitShape<typeof JwtProviderSchema>;
type RequirementInit = MessageInitShape<typeof JwtRequirementSchema>;

/** No cluster is ever called so. */
const NO_CLUSTER = "no-keys";

/** A workload's filters for tokens, in the order in which a listener asks them, each with its message. */
export function requestAuthenticationFilterNames(workload: string) {
  return [
    { name: `${workload}/http/sanitize`, schema: HeaderMutationSchema },
    { name: `${workload}/http/authn`, schema: JwtAuthenticationSchema },
  ] as const;
}

/** Istio's name of a rule. */
function providerName(index: number): string {
  return `origins-${index}`;
}

/**
 * Keys in place, so that no proxy fetches any. Envoy refuses a set without keys, and a key that stands for none is one that
 * somebody may come to have (CVE-2026-31837): then they are to be fetched from a cluster that there never is, each token
 * fails at that, and nothing is ever sent.
 */
function keySource(keys: readonly PublicJwk[]): NonNullable<ProviderInit["jwksSourceSpecifier"]> {
  if (keys.length > 0) return { case: "localJwks", value: { specifier: { case: "inlineString", value: JSON.stringify({ keys }) } } };
  const httpUri = { uri: "https://keys.invalid/", httpUpstreamType: { case: "cluster", value: NO_CLUSTER }, timeout: duration(1) } as const;
  return { case: "remoteJwks", value: { httpUri } };
}

function provider(rule: CompiledJwtRule): ProviderInit {
  const { issuer, audiences, keys, fromHeaders, fromParams, fromCookies, forwardOriginalToken, outputPayloadToHeader } = rule;
  return {
    issuer,
    audiences: [...audiences],
    jwksSourceSpecifier: keySource(keys),
    forward: forwardOriginalToken,
    fromHeaders: fromHeaders.map(({ name, prefix }) => ({ name, valuePrefix: prefix })),
    fromParams: [...fromParams],
    fromCookies: [...fromCookies],
    forwardPayloadHeader: outputPayloadToHeader ?? "",
    claimToHeaders: rule.outputClaimToHeaders.map(({ header, claim }) => ({ headerName: header, claimName: claim })),
    payloadInMetadata: PAYLOAD_KEY,
    normalizePayloadInMetadata: { spaceDelimitedClaims: [...new Set([...SPACE_DELIMITED_CLAIMS, ...rule.spaceDelimitedClaims])] },
  };
}

// === What a request must have ===

const OR_MISSING: RequirementInit = { requiresType: { case: "allowMissing", value: {} } };

function valid(index: number): RequirementInit {
  return { requiresType: { case: "providerName", value: providerName(index) } };
}

function any(requirements: RequirementInit[]): RequirementInit {
  return { requiresType: { case: "requiresAny", value: { requirements } } };
}

function all(requirements: RequirementInit[]): RequirementInit {
  const [only] = requirements;
  if (only !== undefined && requirements.length === 1) return only;
  return { requiresType: { case: "requiresAll", value: { requirements } } };
}

/**
 * JW-1: one valid token is enough; without one, no rule may find a token that is not valid. JW-8: every token of a
 * REQUIRED rule must be there and valid, which is then a valid one.
 */
function requirement(rules: readonly CompiledJwtRule[]): RequirementInit {
  const required = rules.flatMap(({ presence }, index) => (presence === "REQUIRED" ? [valid(index)] : []));
  if (required.length > 0) return all(required);
  const each = rules.map((_, index) => valid(index));
  if (each.length === 1) return any([...each, OR_MISSING]);
  return any([...each, all(each.map((one) => any([one, OR_MISSING])))]);
}

function authentication(rules: readonly CompiledJwtRule[]): MessageInitShape<typeof JwtAuthenticationSchema> {
  if (rules.length === 0) return {};
  return {
    providers: Object.fromEntries(rules.map((rule, index) => [providerName(index), provider(rule)])),
    rules: [
      {
        match: { pathSpecifier: { case: "prefix", value: "/" } },
        requirementType: { case: "requires", value: requirement(rules) },
      },
    ],
    bypassCorsPreflight: true,
  };
}

/** The headers that only a verified token may write. */
function outputHeaders(rules: readonly CompiledJwtRule[]): readonly string[] {
  const names = rules.flatMap((rule) => [rule.outputPayloadToHeader ?? [], rule.outputClaimToHeaders.map(({ header }) => header)].flat());
  return [...new Set(names)].sort();
}

/**
 * An action that Envoy has (1.39.1, for one) and the generated messages lack: `remove_on_match` (3), a message whose field 1
 * is a `StringMatcher` of names.
 */
function removeMatching(pattern: StringMatch): HeaderMutation {
  const matcher = toBinary(StringMatcherSchema, create(StringMatcherSchema, stringMatcher(pattern, true)));
  const removal = new BinaryWriter().tag(1, WireType.LengthDelimited).bytes(matcher).finish();
  const mutation = create(HeaderMutationActionSchema);
  mutation.$unknown = [{ no: 3, wireType: WireType.LengthDelimited, data: new BinaryWriter().bytes(removal).finish() }];
  return mutation;
}

/** What only an authorizer may write. */
function reservedMutations(authorizers: readonly Authorizer[]): readonly HeaderMutation[] {
  const reserved = authorizers.flatMap((authorizer) => (authorizer.kind === "http" ? reservedHeaders(authorizer) : []));
  return reserved.map((pattern) => (pattern.kind === "exact" ? removeNamed(pattern.value) : removeMatching(pattern)));
}

function removeNamed(value: string): HeaderMutation {
  return create(HeaderMutationActionSchema, { action: { case: "remove", value } });
}

/** The extension configs of a workload, whether there are rules or not: its listeners wait for them. */
export function requestAuthenticationFilters(
  policy: Pick<WorkloadPolicy, "workload" | "requestAuthentication" | "authorizers">,
): readonly FilterConfig[] {
  const { workload, requestAuthentication: rules = [], authorizers = [] } = policy;
  const [sanitize, authn] = requestAuthenticationFilterNames(workload);
  const requestMutations = [...outputHeaders(rules).map(removeNamed), ...reservedMutations(authorizers)];
  return [
    { name: sanitize.name, config: pack(sanitize.schema, { mutations: { requestMutations } }) },
    { name: authn.name, config: pack(authn.schema, authentication(rules)) },
  ];
}
