/** Outbound listeners: the application -> the proxy. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { OutboundListener } from "../../compile/workload-policy.ts";
import { TrafficDirection } from "../../gen/envoy/config/core/v3/base_pb.js";
import type { FilterSchema } from "../../gen/envoy/config/listener/v3/listener_components_pb.js";
import { type Listener, ListenerSchema } from "../../gen/envoy/config/listener/v3/listener_pb.js";
import { refusedOutboundHttpLog, refusedOutboundTcpLog } from "./access-log.ts";
import { toAddress } from "./cluster.ts";
import { outboundHttp } from "./http-connection-manager.ts";
import { ALONE } from "./listener.ts";
import { type NamedService, outboundClusterName } from "./outbound-cluster.ts";
import { virtualHost } from "./routes.ts";
import { outboundTcp } from "./tcp-proxy.ts";

type FilterInit = MessageInitShape<typeof FilterSchema>;

/** What is sent again: nothing of it has been processed by anybody. */
export const RETRY = { retryOn: "connect-failure,refused-stream,reset-before-request", numRetries: 2 };

/** A service's names as its clients write them; the short one only inside its namespace, so that no two services share one. */
function domainsOf({ service, host }: NamedService, namespace: string): readonly string[] {
  const [ownNamespace = "", name = ""] = service.split("/");
  // A ServiceEntry's host has no shorter form.
  if (name === host) return [host];
  const names = [host, `${name}.${ownNamespace}.svc`, `${name}.${ownNamespace}`];
  return ownNamespace === namespace ? [...names, name] : names;
}

/** What a listener says of itself, and of the services that it leads to. */
export interface ServiceListener extends Omit<OutboundListener, "services"> {
  readonly services: readonly NamedService[];
}

/** What listeners of the application say of it. */
export interface OutboundClient {
  readonly namespace: string;
}

function hostOf(service: NamedService, domains: readonly string[]) {
  return virtualHost({ name: outboundClusterName(service), domains, cluster: outboundClusterName(service), retry: RETRY });
}

/** Each service by its names. */
export function namedHosts({ namespace }: OutboundClient, services: readonly NamedService[]) {
  return services.map((service) => hostOf(service, domainsOf(service, namespace)));
}

function httpFilter(client: OutboundClient, { name, services }: ServiceListener): FilterInit {
  const [only, ...others] = services;
  const virtualHosts = only !== undefined && others.length === 0 ? [hostOf(only, ["*"])] : namedHosts(client, services);
  // A cluster that Envoy does not take, for a file that is not there, must not keep the listener from the others.
  const routes = { name, virtualHosts, ignorePortInHostMatching: true, validateClusters: false };
  return outboundHttp({ name, routes, filters: [], accessLog: refusedOutboundHttpLog(name) });
}

function tcpFilter(service: NamedService, { name }: ServiceListener): FilterInit {
  return outboundTcp({ name, cluster: outboundClusterName(service), accessLog: refusedOutboundTcpLog(name) });
}

/** What is done with the connections of a listener. */
export function outboundFilters(client: OutboundClient, listener: ServiceListener): readonly FilterInit[] {
  const { protocol, services } = listener;
  return protocol === "tcp" ? services.slice(0, 1).map((service) => tcpFilter(service, listener)) : [httpFilter(client, listener)];
}

/** The listener of the application's own connections. */
export function outboundListener(client: OutboundClient, listener: ServiceListener): Listener {
  const { name, bind } = listener;
  return create(ListenerSchema, {
    name,
    statPrefix: name,
    address: toAddress(bind),
    ...ALONE,
    trafficDirection: TrafficDirection.OUTBOUND,
    filterChains: [{ filters: [...outboundFilters(client, listener)] }],
  });
}
