/** Names that the bootstrap and the rendered resources share (Istio's, AG-2 and AG-11). Imports nothing: the agent reads it too. */

/**
 * Where listeners write their access logs: the agent beside the proxy, which passes them on. In the bootstraps of older agents, and
 * where there is no agent, it is the control plane itself, which takes them as well.
 */
export const XDS_CLUSTER = "xds-grpc";

/** The control plane, of an Envoy with an agent. */
export const CONTROL_PLANE_CLUSTER = "control-plane";

/** The agent beside the proxy: keys and roots. */
export const SDS_CLUSTER = "sds-grpc";

/** The secret with the workload's key and certificate chain. */
export const IDENTITY_SECRET = "default";

/** Where a verified token's payload stands among a request's metadata: of this filter, under this key. */
export const AUTHN_FILTER = "envoy.filters.http.jwt_authn";
export const PAYLOAD_KEY = "payload";

/** The secret with the roots to trust. */
export const ROOTS_SECRET = "ROOTCA";
/** The same for the verification of servers, with what is revoked. */
export const SERVER_ROOTS_SECRET = "ROOTCA-SERVERS";

/** The secret with the roots that the machine trusts, for servers outside the mesh. */
export const SYSTEM_ROOTS_SECRET = "file-root:system";

/** The filters that leave which rule matched among the metadata of a request or connection, under their own names. */
export const HTTP_RBAC = "envoy.filters.http.rbac";
export const TCP_RBAC = "envoy.filters.network.rbac";

/** Before the keys of metadata that say which CUSTOM rule matched (AZ-12). */
export const CUSTOM_MARK = "istio_ext_authz_";

/** Ends the name of a gateway's log of clients that have no identity of the mesh. */
export const OUTSIDE_LOG = "/outside";

/** Istio's ports, to which the connections of captured workloads are redirected (XD-1). */
export const CAPTURE_OUTBOUND_PORT = 15001;
export const CAPTURE_INBOUND_PORT = 15006;

/** Istio's port, where an agent answers captured questions of DNS (AG-11). */
export const CAPTURE_DNS_PORT = 15053;
