/**
 * CUSTOM rules -> Envoy's ext_authz behind an RBAC filter whose shadow rules mark what it is asked of (AZ-12). Listeners
 * keep a fixed number of places for such pairs, so that a provider that comes or goes changes no listener.
 *
 * For HTTP a place is one extension config, a composite filter that runs the pair: both change at once. (A chain of several
 * pairs in one would leave out what follows the first that had to wait for its answer.) Network filters have no such
 * thing: there a place is two extension configs, and the authorizer is asked of whatever the marks of its place say, so that
 * a change of one before the other leaves nothing unasked.
 */
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { type Any, anyPack } from "@bufbuild/protobuf/wkt";
import { PLACES } from "../../compile/authorizers.ts";
import type {
  AuthorizationLayers,
  Authorizer,
  CustomRule,
  GrpcAuthorizer,
  HttpAuthorizer,
  WorkloadPolicy,
} from "../../compile/workload-policy.ts";
import { AppError } from "../../core/error.ts";
import { ApiVersion } from "../../gen/envoy/config/core/v3/config_source_pb.js";
import { type TypedExtensionConfig, TypedExtensionConfigSchema } from "../../gen/envoy/config/core/v3/extension_pb.js";
import type { GrpcServiceSchema } from "../../gen/envoy/config/core/v3/grpc_service_pb.js";
import { RBAC_Action } from "../../gen/envoy/config/rbac/v3/rbac_pb.js";
import { ExtensionWithMatcherSchema } from "../../gen/envoy/extensions/common/matching/v3/extension_matcher_pb.js";
import { CompositeSchema, ExecuteFilterActionSchema } from "../../gen/envoy/extensions/filters/http/composite/v3/composite_pb.js";
import {
  ExtAuthzSchema as HttpExtAuthzSchema,
  type HttpServiceSchema,
} from "../../gen/envoy/extensions/filters/http/ext_authz/v3/ext_authz_pb.js";
import { RBACSchema as HttpRbacSchema } from "../../gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js";
import { ExtAuthzSchema as NetworkExtAuthzSchema } from "../../gen/envoy/extensions/filters/network/ext_authz/v3/ext_authz_pb.js";
import { RBACSchema as NetworkRbacSchema } from "../../gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js";
import type { MetadataMatcherSchema } from "../../gen/envoy/type/matcher/v3/metadata_pb.js";
import { RegexMatcherSchema } from "../../gen/envoy/type/matcher/v3/regex_pb.js";
import type { ListStringMatcherSchema } from "../../gen/envoy/type/matcher/v3/string_pb.js";
import { PROTECTED_HEADERS } from "../../policy/authorizer-headers.ts";
import { envoyCustomPrefix, formatEnvoyCustomId } from "../../policy/origin.ts";
import type { StringMatch } from "../../policy/pattern.ts";
import { duration, namedConfig, pack } from "./any.ts";
import { type Transport, toPolicy } from "./authorization.ts";
import type { FilterConfig } from "./filter-config.ts";
import { CUSTOM_MARK, HTTP_RBAC, TCP_RBAC } from "./names.ts";
import { outboundClusterName } from "./outbound-cluster.ts";
import { stringMatcher } from "./string-matcher.ts";

type HttpServiceInit = MessageInitShape<typeof HttpServiceSchema>;

function placesOf(transport: Transport): readonly number[] {
  return Array.from({ length: PLACES[transport] }, (_, place) => place);
}

/** The names of a workload's filters, in the order in which a listener asks them, with the messages that each may hold. */
export function customFilterNames(workload: string, transport: Transport) {
  const composite = [ExtensionWithMatcherSchema, HttpRbacSchema];
  if (transport === "http") return placesOf(transport).map((place) => ({ name: `${workload}/http/custom-${place}`, schemas: composite }));
  return placesOf(transport).flatMap((place) => [
    { name: `${workload}/tcp/custom-${place}`, schemas: [NetworkRbacSchema] },
    { name: `${workload}/tcp/authorizer-${place}`, schemas: [NetworkExtAuthzSchema, NetworkRbacSchema] },
  ]);
}

// === Marks ===

function shadowRules(rules: readonly CustomRule[], transport: Transport) {
  const policies = rules.map(({ provider, origin, condition }) => [formatEnvoyCustomId(provider, origin), toPolicy(condition, transport)]);
  return { action: RBAC_Action.DENY, policies: Object.fromEntries(policies) };
}

/** Whether a mark of this kind is there. */
function marked(filter: string, mark: string, prefix: string): MessageInitShape<typeof MetadataMatcherSchema> {
  const key = { segment: { case: "key", value: `${mark}shadow_effective_policy_id` } } as const;
  return { filter, path: [key], value: { matchPattern: { case: "stringMatch", value: stringMatcher({ kind: "prefix", value: prefix }) } } };
}

// === Authorizers ===

/** Envoy refuses an empty list; one that is not there is Istio's empty one. */
function headerList<const F extends string>(field: F, patterns: readonly StringMatch[]): HeaderListField<F> | Record<never, never> {
  if (patterns.length === 0) return {};
  return { [field]: { patterns: patterns.map((pattern) => stringMatcher(pattern, true)) } } as HeaderListField<F>;
}

type HeaderListField<F extends string> = Readonly<Record<F, MessageInitShape<typeof ListStringMatcherSchema>>>;

function httpService(authorizer: HttpAuthorizer): HttpServiceInit {
  const { upstream, timeoutMs, pathPrefix, includeAdditionalHeadersInCheck: added } = authorizer;
  const cluster = { case: "cluster", value: outboundClusterName(upstream) } as const;
  return {
    serverUri: { uri: `http://${upstream.host}`, httpUpstreamType: cluster, timeout: duration(timeoutMs / 1000) },
    pathPrefix,
    authorizationRequest: { headersToAdd: added.map(({ name, value }) => ({ key: name, value })) },
    authorizationResponse: {
      ...headerList("allowedUpstreamHeaders", authorizer.headersToUpstreamOnAllow),
      ...headerList("allowedClientHeaders", authorizer.headersToDownstreamOnDeny),
      ...headerList("allowedClientHeadersOnSuccess", authorizer.headersToDownstreamOnAllow),
    },
  };
}

/** `|` may not stand in an authority, and is what Envoy would send. */
function grpcService({ upstream, timeoutMs }: GrpcAuthorizer): MessageInitShape<typeof GrpcServiceSchema> {
  const clusterName = outboundClusterName(upstream);
  const envoyGrpc = { clusterName, authority: clusterName.replaceAll("|", "_.") };
  return { targetSpecifier: { case: "envoyGrpc", value: envoyGrpc }, timeout: duration(timeoutMs / 1000) };
}

function services(authorizer: Authorizer): NonNullable<MessageInitShape<typeof HttpExtAuthzSchema>["services"]> {
  return authorizer.kind === "http"
    ? { case: "httpService", value: httpService(authorizer) }
    : { case: "grpcService", value: grpcService(authorizer) };
}

const PROTECTED = PROTECTED_HEADERS.join("|");

function extAuthz(authorizer: Authorizer): MessageInitShape<typeof HttpExtAuthzSchema> {
  const { name, failOpen, statusOnError, clearRouteCache, includeRequestBodyInCheck: body } = authorizer;
  return {
    services: services(authorizer),
    transportApiVersion: ApiVersion.V3,
    failureModeAllow: failOpen,
    statusOnError: { code: statusOnError },
    clearRouteCache,
    validateMutations: true,
    includePeerCertificate: true,
    includeTlsSession: true,
    ...headerList("allowedHeaders", authorizer.kind === "http" ? authorizer.includeRequestHeadersInCheck : []),
    ...(body === undefined ? {} : { withRequestBody: body }),
    decoderHeaderMutationRules: { disallowSystem: true, disallowExpression: create(RegexMatcherSchema, { regex: PROTECTED }) },
    filterEnabledMetadata: marked(HTTP_RBAC, CUSTOM_MARK, envoyCustomPrefix(name)),
  };
}

// === HTTP ===

/**
 * A field that Envoy has (1.39.1, for one) and the generated messages lack: `filter_chain` (4) of ExecuteFilterAction, a
 * message whose field 1 is a list of `TypedExtensionConfig`.
 */
function executeChain(filters: readonly TypedExtensionConfig[]): Any {
  const chain = new BinaryWriter();
  for (const filter of filters) chain.tag(1, WireType.LengthDelimited).bytes(toBinary(TypedExtensionConfigSchema, filter));
  const action = create(ExecuteFilterActionSchema);
  action.$unknown = [{ no: 4, wireType: WireType.LengthDelimited, data: new BinaryWriter().bytes(chain.finish()).finish() }];
  return anyPack(ExecuteFilterActionSchema, action);
}

function typedConfig(name: string, config: Any): TypedExtensionConfig {
  return create(TypedExtensionConfigSchema, { name, typedConfig: config });
}

/** Marks of one provider, and the provider. */
function pairOf(authorizer: Authorizer, rules: readonly CustomRule[]): readonly TypedExtensionConfig[] {
  const marks = { shadowRules: shadowRules(rules, "http"), shadowRulesStatPrefix: CUSTOM_MARK };
  return [
    typedConfig(`custom/${authorizer.name}`, pack(HttpRbacSchema, marks)),
    typedConfig(`authorizer/${authorizer.name}`, pack(HttpExtAuthzSchema, extAuthz(authorizer))),
  ];
}

function compositeOf(chain: readonly TypedExtensionConfig[]): Any {
  const { name, configType } = namedConfig("composite", CompositeSchema, {});
  const run = { name: "run", typedConfig: executeChain(chain) };
  return pack(ExtensionWithMatcherSchema, {
    extensionConfig: { name, typedConfig: configType.value },
    xdsMatcher: { onNoMatch: { onMatch: { case: "action", value: run } } },
  });
}

/** What of a workload's policy is rendered here. */
export interface Asking extends Pick<WorkloadPolicy, "workload" | "authorizers"> {
  readonly http: Pick<AuthorizationLayers, "custom">;
  readonly tcp: Pick<AuthorizationLayers, "custom">;
}

/** The rules of a place, and whom they ask; undefined where nobody has it. */
function atPlace(policy: Asking, transport: Transport, place: number) {
  const { authorizers = [] } = policy;
  const rules = policy[transport].custom?.filter((rule) => rule.place === place) ?? [];
  const authorizer = authorizers.find(({ name }) => name === rules[0]?.provider);
  if (rules.length > 0 && authorizer === undefined) throw new AppError("internal", "a rule asks an authorizer that is not there");
  return authorizer === undefined ? undefined : { authorizer, rules };
}

function httpFilters(policy: Asking): readonly Any[] {
  return placesOf("http").map((place) => {
    const asked = atPlace(policy, "http", place);
    return asked === undefined ? pack(HttpRbacSchema, {}) : compositeOf(pairOf(asked.authorizer, asked.rules));
  });
}

// === TCP ===

/** Of its own for each place. */
function markOf(place: number): string {
  return `${CUSTOM_MARK}${place}_`;
}

function networkMarks(place: number, rules: readonly CustomRule[]): Any {
  const marks = rules.length === 0 ? {} : { shadowRules: shadowRules(rules, "tcp"), shadowRulesStatPrefix: markOf(place) };
  return pack(NetworkRbacSchema, { ...marks, statPrefix: `tcp_custom_${place}.` });
}

function networkAuthorizer(place: number, authorizer: Authorizer | undefined): Any {
  const statPrefix = `tcp_authorizer_${place}.`;
  if (authorizer === undefined) return pack(NetworkRbacSchema, { statPrefix });
  if (authorizer.kind === "http") throw new AppError("internal", "a connection is asked of an authorizer over HTTP");
  return pack(NetworkExtAuthzSchema, {
    statPrefix,
    grpcService: grpcService(authorizer),
    failureModeAllow: authorizer.failOpen,
    transportApiVersion: ApiVersion.V3,
    includePeerCertificate: true,
    includeTlsSession: true,
    filterEnabledMetadata: marked(TCP_RBAC, markOf(place), "istio-ext-authz-"),
  });
}

function tcpFilters(policy: Asking): readonly Any[] {
  return placesOf("tcp").flatMap((place) => {
    const asked = atPlace(policy, "tcp", place);
    return [networkMarks(place, asked?.rules ?? []), networkAuthorizer(place, asked?.authorizer)];
  });
}

/** The extension configs of a workload for one transport: every place, whether anybody has it or not. */
export function customFilters(policy: Asking, transport: Transport): readonly FilterConfig[] {
  const configs = transport === "http" ? httpFilters(policy) : tcpFilters(policy);
  return customFilterNames(policy.workload, transport).flatMap(({ name }, index) => {
    const config = configs[index];
    return config === undefined ? [] : [{ name, config }];
  });
}
