/** Rendered resources as JSON that a person reads: type, name, message, with every `Any` opened. */
import { createRegistry, fromBinary, isMessage, type JsonObject, type JsonValue, toJson } from "@bufbuild/protobuf";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { ClusterSchema } from "../../src/gen/envoy/config/cluster/v3/cluster_pb.js";
import { type TypedExtensionConfig, TypedExtensionConfigSchema } from "../../src/gen/envoy/config/core/v3/extension_pb.js";
import { ClusterLoadAssignmentSchema } from "../../src/gen/envoy/config/endpoint/v3/endpoint_pb.js";
import { ListenerSchema } from "../../src/gen/envoy/config/listener/v3/listener_pb.js";
import { RouteConfigurationSchema } from "../../src/gen/envoy/config/route/v3/route_pb.js";
import { file_envoy_extensions_access_loggers_filters_cel_v3_cel } from "../../src/gen/envoy/extensions/access_loggers/filters/cel/v3/cel_pb.js";
import { file_envoy_extensions_access_loggers_grpc_v3_als } from "../../src/gen/envoy/extensions/access_loggers/grpc/v3/als_pb.js";
import { ExtensionWithMatcherSchema } from "../../src/gen/envoy/extensions/common/matching/v3/extension_matcher_pb.js";
import { CompositeSchema, ExecuteFilterActionSchema } from "../../src/gen/envoy/extensions/filters/http/composite/v3/composite_pb.js";
import { file_envoy_extensions_filters_http_ext_authz_v3_ext_authz } from "../../src/gen/envoy/extensions/filters/http/ext_authz/v3/ext_authz_pb.js";
import { file_envoy_extensions_filters_http_header_mutation_v3_header_mutation } from "../../src/gen/envoy/extensions/filters/http/header_mutation/v3/header_mutation_pb.js";
import { file_envoy_extensions_filters_http_header_to_metadata_v3_header_to_metadata } from "../../src/gen/envoy/extensions/filters/http/header_to_metadata/v3/header_to_metadata_pb.js";
import { file_envoy_extensions_filters_http_jwt_authn_v3_config } from "../../src/gen/envoy/extensions/filters/http/jwt_authn/v3/config_pb.js";
import { file_envoy_extensions_filters_http_rbac_v3_rbac } from "../../src/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js";
import { file_envoy_extensions_filters_http_router_v3_router } from "../../src/gen/envoy/extensions/filters/http/router/v3/router_pb.js";
import { file_envoy_extensions_filters_listener_original_dst_v3_original_dst } from "../../src/gen/envoy/extensions/filters/listener/original_dst/v3/original_dst_pb.js";
import { file_envoy_extensions_filters_listener_tls_inspector_v3_tls_inspector } from "../../src/gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js";
import { file_envoy_extensions_filters_network_ext_authz_v3_ext_authz } from "../../src/gen/envoy/extensions/filters/network/ext_authz/v3/ext_authz_pb.js";
import { file_envoy_extensions_filters_network_http_connection_manager_v3_http_connection_manager } from "../../src/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { file_envoy_extensions_filters_network_rbac_v3_rbac } from "../../src/gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js";
import { file_envoy_extensions_filters_network_tcp_proxy_v3_tcp_proxy } from "../../src/gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js";
import { file_envoy_extensions_transport_sockets_raw_buffer_v3_raw_buffer } from "../../src/gen/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.js";
import { file_envoy_extensions_transport_sockets_tls_v3_tls } from "../../src/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";
import { file_envoy_extensions_upstreams_http_v3_http_protocol_options } from "../../src/gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js";
import type { EnvoyResources } from "../../src/render/envoy/render.ts";
import type { EnvoyResource } from "../../src/render/envoy/resource.ts";

const REGISTRY = createRegistry(
  ClusterSchema,
  ClusterLoadAssignmentSchema,
  ListenerSchema,
  RouteConfigurationSchema,
  TypedExtensionConfigSchema,
  ExtensionWithMatcherSchema,
  CompositeSchema,
  ExecuteFilterActionSchema,
  file_envoy_extensions_filters_http_ext_authz_v3_ext_authz,
  file_envoy_extensions_filters_network_ext_authz_v3_ext_authz,
  file_envoy_extensions_access_loggers_filters_cel_v3_cel,
  file_envoy_extensions_access_loggers_grpc_v3_als,
  file_envoy_extensions_filters_http_header_mutation_v3_header_mutation,
  file_envoy_extensions_filters_http_header_to_metadata_v3_header_to_metadata,
  file_envoy_extensions_filters_http_jwt_authn_v3_config,
  file_envoy_extensions_filters_http_rbac_v3_rbac,
  file_envoy_extensions_filters_http_router_v3_router,
  file_envoy_extensions_filters_listener_original_dst_v3_original_dst,
  file_envoy_extensions_filters_listener_tls_inspector_v3_tls_inspector,
  file_envoy_extensions_filters_network_http_connection_manager_v3_http_connection_manager,
  file_envoy_extensions_filters_network_rbac_v3_rbac,
  file_envoy_extensions_filters_network_tcp_proxy_v3_tcp_proxy,
  file_envoy_extensions_transport_sockets_raw_buffer_v3_raw_buffer,
  file_envoy_extensions_transport_sockets_tls_v3_tls,
  file_envoy_extensions_upstreams_http_v3_http_protocol_options,
);

const OPTIONS = { registry: REGISTRY, useProtoFieldName: true } as const;

/** The chain that a composite filter runs: a field that the generated messages lack. */
function chainOf(config: TypedExtensionConfig): readonly JsonValue[] {
  const composite = config.typedConfig === undefined ? undefined : anyUnpack(config.typedConfig, ExtensionWithMatcherSchema);
  const run = composite?.xdsMatcher?.onNoMatch?.onMatch;
  const action =
    run?.case === "action" && run.value.typedConfig !== undefined ? anyUnpack(run.value.typedConfig, ExecuteFilterActionSchema) : undefined;
  return (action?.$unknown ?? []).flatMap(({ data }) => {
    const chain = new BinaryReader(new BinaryReader(data).bytes());
    const filters: JsonValue[] = [];
    while (chain.pos < chain.len) {
      chain.tag();
      filters.push(toJson(TypedExtensionConfigSchema, fromBinary(TypedExtensionConfigSchema, chain.bytes()), OPTIONS));
    }
    return filters;
  });
}

function resourceToJson({ typeUrl, body }: EnvoyResource): JsonValue {
  const schema = REGISTRY.getMessage(typeUrl.slice(typeUrl.indexOf("/") + 1));
  if (schema === undefined) throw new Error(`${typeUrl} is not in the registry`);
  const message = fromBinary(schema, body);
  const chain = isMessage(message, TypedExtensionConfigSchema) ? chainOf(message) : [];
  const json = toJson(schema, message, OPTIONS);
  return chain.length === 0 ? json : { ...(json as JsonObject), filter_chain: [...chain] };
}

/** By type URL, then by name. */
export function resourcesToJson(resources: EnvoyResources): JsonValue {
  const types = [...resources].map(
    ([typeUrl, byName]) => [typeUrl, Object.fromEntries([...byName].map(([name, resource]) => [name, resourceToJson(resource)]))] as const,
  );
  return Object.fromEntries(types);
}
