/**
 * What an Envoy is started with: who it is, where its control plane and its secrets are. Plain JSON in Envoy's own
 * spelling and no protobuf, because the agent that writes it has to stay small.
 */
import { parseIpAddress } from "../../policy/ip-block.ts";
import { CONTROL_PLANE_CLUSTER, IDENTITY_SECRET, ROOTS_SECRET, SDS_CLUSTER, XDS_CLUSTER } from "./names.ts";

type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

export interface BootstrapOptions {
  /** The xDS node; the control plane reads the workload from its metadata and holds it against the certificate. */
  readonly node: { readonly id: string; readonly cluster: string; readonly metadata: Readonly<Record<string, string>> };
  readonly controlPlane: {
    /** An IP address or a DNS name. */
    readonly address: string;
    readonly port: number;
    /** The SPIFFE ID that its certificate must hold. */
    readonly identity: string;
  };
  /** Path of the Unix socket on which the agent serves SDS. */
  readonly sdsSocket: string;
  /** Path of the Unix socket of Envoy's admin interface; for its own user only. */
  readonly adminSocket: string;
  /** Who takes its access logs: the agent, at the SDS socket, or the control plane itself. */
  readonly records: "agent" | "control-plane";
  /** Which form of xDS the proxy asks for. */
  readonly xds: "delta" | "sotw";
}

/** Connections of all listeners together: beyond, new ones are refused instead of memory running out. */
const MAX_CONNECTIONS = 20_000;

/** As in Istio; many times what the longest value of a policy takes. */
const MAX_REGEX_PROGRAM = 32_768;

const HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

function type(name: string): string {
  return `type.googleapis.com/${name}`;
}

/** A cluster that speaks gRPC to one address, and notices within half a minute that nobody answers. */
function grpcCluster(name: string, discovery: "STATIC" | "STRICT_DNS", address: Json): { readonly [key: string]: Json } {
  const keepalive = { interval: "20s", timeout: "10s" };
  return {
    name,
    type: discovery,
    connect_timeout: "5s",
    typed_extension_protocol_options: {
      [HTTP_OPTIONS]: {
        "@type": type(HTTP_OPTIONS),
        explicit_http_config: { http2_protocol_options: { connection_keepalive: keepalive } },
      },
    },
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }] },
  };
}

function grpcService(cluster: string): Json {
  const retryPolicy = { retry_back_off: { base_interval: "0.25s", max_interval: "5s" } };
  return { envoy_grpc: { cluster_name: cluster, retry_policy: retryPolicy } };
}

function secret(name: string): Json {
  const source = {
    api_type: "GRPC",
    transport_api_version: "V3",
    set_node_on_first_message_only: true,
    grpc_services: [grpcService(SDS_CLUSTER)],
  };
  return { name, sds_config: { api_config_source: source, resource_api_version: "V3", initial_fetch_timeout: "0s" } };
}

/** Mutual TLS with the workload's own certificate; the server must be exactly the control plane. */
function controlPlaneTls(identity: string): Json {
  const name = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
  return {
    name: "envoy.transport_sockets.tls",
    typed_config: {
      "@type": type(name),
      common_tls_context: {
        tls_params: { tls_minimum_protocol_version: "TLSv1_2", tls_maximum_protocol_version: "TLSv1_3" },
        alpn_protocols: ["h2"],
        tls_certificate_sds_secret_configs: [secret(IDENTITY_SECRET)],
        combined_validation_context: {
          default_validation_context: { match_typed_subject_alt_names: [{ san_type: "URI", matcher: { exact: identity } }] },
          validation_context_sds_secret_config: secret(ROOTS_SECRET),
        },
      },
      max_session_keys: 0,
    },
  };
}

function controlPlaneCluster(name: string, { address, port, identity }: BootstrapOptions["controlPlane"]): Json {
  const discovery = parseIpAddress(address) === undefined ? "STRICT_DNS" : "STATIC";
  const cluster = grpcCluster(name, discovery, { socket_address: { address, port_value: port } });
  return { ...cluster, transport_socket: controlPlaneTls(identity) };
}

/**
 * Envoy's bootstrap as JSON. Istio strips a path's fragment before it matches (AZ-10), where Envoy's own default is to
 * refuse such a request; both keep it away from the policies.
 */
export function renderBootstrap({ node, controlPlane, sdsSocket, adminSocket, records, xds }: BootstrapOptions): Json {
  const adsCluster = records === "agent" ? CONTROL_PLANE_CLUSTER : XDS_CLUSTER;
  const agent = { pipe: { path: sdsSocket } };
  const ads = { ads: {}, resource_api_version: "V3", initial_fetch_timeout: "0s" };
  const connections = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig";
  return {
    node: { id: node.id, cluster: node.cluster, metadata: { ...node.metadata } },
    admin: { address: { pipe: { path: adminSocket, mode: 0o600 } } },
    dynamic_resources: {
      ads_config: {
        api_type: xds === "delta" ? "DELTA_GRPC" : "GRPC",
        transport_api_version: "V3",
        set_node_on_first_message_only: true,
        grpc_services: [grpcService(adsCluster)],
      },
      cds_config: ads,
      lds_config: ads,
    },
    static_resources: {
      clusters: [
        controlPlaneCluster(adsCluster, controlPlane),
        grpcCluster(SDS_CLUSTER, "STATIC", agent),
        ...(records === "agent" ? [grpcCluster(XDS_CLUSTER, "STATIC", agent)] : []),
      ],
    },
    layered_runtime: {
      layers: [
        {
          name: "garrison",
          static_layer: {
            "envoy.reloadable_features.http_reject_path_with_fragment": false,
            // Without it Envoy refuses expressions of some 100 characters, and with them policies of long paths and names.
            "re2.max_program_size.error_level": MAX_REGEX_PROGRAM,
          },
        },
      ],
    },
    overload_manager: {
      resource_monitors: [
        {
          name: "envoy.resource_monitors.global_downstream_max_connections",
          typed_config: { "@type": type(connections), max_active_downstream_connections: MAX_CONNECTIONS },
        },
      ],
    },
  };
}
