/**
 * `x-garrison-denied-by` by Envoy. A denial is a local reply whose details name the rule in Envoy's form (the table in
 * `access-log.ts`), whatever rules a workload has: the listener stays the same when they change. So the reply's mapper takes
 * the details for the header, a filter brings them to the form that people read, and another writes them back. Filters meet
 * a response in the reverse of their order. What the application says under that name, the router has taken out by then.
 */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { AccessLogFilterSchema } from "../../gen/envoy/config/accesslog/v3/accesslog_pb.js";
import type { HeaderMutationSchema as HeaderMutationActionSchema } from "../../gen/envoy/config/common/mutation_rules/v3/mutation_rules_pb.js";
import { HeaderValueOption_HeaderAppendAction } from "../../gen/envoy/config/core/v3/base_pb.js";
import { ExpressionFilterSchema } from "../../gen/envoy/extensions/access_loggers/filters/cel/v3/cel_pb.js";
import { HeaderMutationSchema } from "../../gen/envoy/extensions/filters/http/header_mutation/v3/header_mutation_pb.js";
import { ConfigSchema as HeaderToMetadataSchema } from "../../gen/envoy/extensions/filters/http/header_to_metadata/v3/header_to_metadata_pb.js";
import type {
  LocalReplyConfigSchema,
  ResponseMapperSchema,
} from "../../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { DENIED_BY_HEADER, DENIED_BY_TOKEN } from "../../policy/denied-by.ts";
import { formatEnvoyPolicyId, formatOrigin, REVOKED, TWO_NAMES } from "../../policy/origin.ts";
import { namedConfig } from "./any.ts";

const NAMESPACE = "garrison";
const KEY = "denied_by";

const DENIED = "rbac_access_denied_matched_policy[";
const DETAILS = "%RESPONSE_CODE_DETAILS%";
const CUSTOM = "%DYNAMIC_METADATA(envoy.filters.http.rbac:istio_ext_authz_shadow_effective_policy_id)%";

/** The name of a rule, of any layer, as the details and the marks of CUSTOM rules have it. */
const ENVOY_FORM =
  "^(?:rbac_access_denied_matched_policy\\[|istio-ext-authz-[a-z0-9-]+-)ns\\[([^\\]]*)\\]-policy\\[([^\\]]*)\\]-rule\\[(\\d+)\\]\\]?$";
const PEOPLES_FORM = "\\1/\\2[\\3]";

function header(value: string) {
  const appendAction = HeaderValueOption_HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD;
  return { header: { key: DENIED_BY_HEADER, value }, appendAction };
}

function mapper(condition: string, value: string): MessageInitShape<typeof ResponseMapperSchema> {
  const expression = `has(response.code_details) && response.code_details.${condition}`;
  const filter = namedConfig("envoy.access_loggers.extension_filters.cel", ExpressionFilterSchema, { expression });
  return {
    filter: create(AccessLogFilterSchema, { filterSpecifier: { case: "extensionFilter", value: filter } }),
    headersToAdd: [header(value)],
  };
}

/** What the proxy answers itself; the first mapper that fits counts. */
export const DENIED_BY_REPLIES: MessageInitShape<typeof LocalReplyConfigSchema> = {
  mappers: [
    mapper(`startsWith('${DENIED}none]')`, "default"),
    ...[REVOKED, TWO_NAMES].map((origin) => mapper(`startsWith('${DENIED}${formatEnvoyPolicyId(origin)}]')`, formatOrigin(origin))),
    mapper(`startsWith('${DENIED}')`, DETAILS),
    mapper("startsWith('jwt_authn_access_denied{')", DENIED_BY_TOKEN),
    mapper("startsWith('ext_authz_')", CUSTOM),
  ],
};

/** Before all others, and so the last that meet a response. */
export function deniedByFilters() {
  const pair = { metadataNamespace: NAMESPACE, key: KEY };
  const regexValueRewrite = { pattern: { regex: ENVOY_FORM }, substitution: PEOPLES_FORM };
  const rule = { header: DENIED_BY_HEADER, onHeaderPresent: { ...pair, regexValueRewrite }, remove: true };
  const write: MessageInitShape<typeof HeaderMutationActionSchema> = {
    action: { case: "append", value: header(`%DYNAMIC_METADATA(${NAMESPACE}:${KEY})%`) },
  };
  return [
    namedConfig("denied-by", HeaderMutationSchema, { mutations: { responseMutations: [write] } }),
    namedConfig("denied-by-form", HeaderToMetadataSchema, { responseRules: [rule] }),
  ];
}
